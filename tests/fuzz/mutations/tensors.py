"""Headers of safetensors: lengths, offsets, types and shapes edited."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tests.fuzz.mutations.documents import edit_document

_TYPES = ("F16", "BF16", "F64", "I32", "U8", "BOOL", "F8_E4M3", "odd", 3)


def damage_safetensors(file: Path, rng: np.random.Generator) -> str:
    """Edit the header of a file; returns what was done."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, values = json.loads(content[8 : 8 + length]), content[8 + length :]
    kind = str(rng.choice(["length", "document", "offsets", "type", "shape", "values", "twice"]))
    tensors = sorted(name for name in header if name != "__metadata__")
    name = tensors[int(rng.integers(len(tensors)))]
    other = header[tensors[int(rng.integers(len(tensors)))]]
    if kind == "length":
        length = int(rng.choice([0, 1, length - 1, length + 1, 2**31, 2**40, 2**63 - 1]))
        file.write_bytes(length.to_bytes(8, "little") + content[8:])
        return "header length changed"
    if kind == "document":
        what = edit_document(header, rng) or "nothing"
        kind = f"document, {what},"
    elif kind == "offsets":
        shift = int(rng.choice([-4, 4, 1, -(2**20), 2**40]))
        offsets = header[name]["data_offsets"]
        header[name]["data_offsets"] = [offsets[0], offsets[1] + shift]
        if rng.random() < 0.3:
            header[name]["data_offsets"] = other["data_offsets"]
    elif kind == "type":
        header[name]["dtype"] = _TYPES[int(rng.integers(len(_TYPES)))]
    elif kind == "shape":
        shape: list[Any] = header[name]["shape"]
        odd = [[], shape[::-1], [*shape, 1], [1, *shape], [0], [-1], [2**62, 4], [2**40]]
        header[name]["shape"] = odd[int(rng.integers(len(odd)))]
    elif kind == "values":
        changed = np.frombuffer(values, np.float32).copy()
        changed[rng.integers(len(changed), size=3)] = rng.choice([np.nan, np.inf, 0, 1e38], 3)
        values = changed.tobytes()
    else:
        header[name], header["odd"] = other, header[name]
    changed_header = json.dumps(header).encode()
    file.write_bytes(len(changed_header).to_bytes(8, "little") + changed_header + values)
    return f"header {kind} changed"
