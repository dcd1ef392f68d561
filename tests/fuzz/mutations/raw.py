"""Bytes of a file changed without a thought of what they mean."""

from pathlib import Path

import numpy as np

KINDS = ("flipped", "cut", "zeroed", "overwritten", "repeated", "swapped", "appended", "set high")


def damage_bytes(file: Path, rng: np.random.Generator) -> str:
    """Change some bytes of a file; returns what was done."""
    content = bytearray(file.read_bytes())
    kind = str(rng.choice(KINDS))
    if not content:
        kind = "appended"
    start = int(rng.integers(len(content))) if content else 0
    stop = min(start + int(2 ** rng.uniform(1, 12)), len(content))
    if kind == "flipped":
        for place in rng.integers(len(content), size=rng.integers(1, 17)):
            content[place] ^= int(rng.integers(1, 256))
    elif kind == "cut":
        del content[start:]
    elif kind == "zeroed":
        content[start:stop] = bytes(stop - start)
    elif kind == "overwritten":
        content[start:stop] = rng.bytes(stop - start)
    elif kind == "repeated":
        content[start:start] = content[start:stop]
    elif kind == "swapped":
        _swap(content, start, stop, rng)
    elif kind == "set high":
        # Where a length of 8 bytes lies, it becomes a very large one.
        content[start : start + 8] = b"\xff" * min(8, len(content) - start)
    else:
        content += rng.bytes(int(2 ** rng.uniform(0, 10)))
    file.write_bytes(content)
    return f"bytes {kind}"


def _swap(content: bytearray, start: int, stop: int, rng: np.random.Generator) -> None:
    other = int(rng.integers(len(content) - (stop - start) + 1))
    first, second = content[start:stop], content[other : other + stop - start]
    content[start:stop] = second
    content[other : other + stop - start] = first
