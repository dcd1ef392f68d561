"""Pickles and PyTorch files: values edited, and code that must not run put in."""

import io
import pickle
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from tests.damage import payloads

MARKER = "code-was-run"
_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**62, 10**400, 1e300, float("nan"), float("inf"), "", "odd", b"odd",
    [], (1,), {}, {"a": 1}, set(), 1j, np.float64(3), np.int64(-1), np.float16(2), np.bool_(True),
)  # fmt: skip


def damage_pickle(file: Path, rng: np.random.Generator) -> str:
    """Edit the table in a pickle, or put code in its place; returns what was done."""
    if rng.random() < 0.3:
        name, content = _draw_payload(rng)
        file.write_bytes(content)
        return f"code by {name}"
    table = pickle.loads(file.read_bytes())
    keys = list(table)
    key = keys[int(rng.integers(len(keys)))]
    kind = str(rng.choice(["deleted", "replaced", "replaced", "rekeyed", "as another", "doubled"]))
    if kind == "deleted":
        del table[key]
    elif kind == "rekeyed":
        table[[None, 3, b"a", ("a",), "", "<odd>"][int(rng.integers(6))]] = table.pop(key)
    elif kind == "as another":
        made = (OrderedDict(table), list(table.items()), dict(enumerate(table)), defaultdict(list))
        table = made[int(rng.integers(len(made)))]
    elif kind == "doubled":
        table[key] = table[keys[int(rng.integers(len(keys)))]]
    else:
        table[key] = _ODD[int(rng.integers(len(_ODD)))]
    file.write_bytes(pickle.dumps(table, protocol=int(rng.integers(6))))
    return f"pickled value {kind}"


def damage_torch(file: Path, rng: np.random.Generator) -> str:
    """Change one part of the archive that torch writes; returns what was done."""
    with zipfile.ZipFile(file) as archive:
        parts = {each: archive.read(each) for each in archive.namelist()}
    names = sorted(parts)
    pickled = next(each for each in names if each.endswith("data.pkl"))
    kind = str(rng.choice(["code", "code", "part deleted", "part cut", "part zeroed", "pickle"]))
    name = pickled if kind in ("code", "pickle") else names[int(rng.integers(len(names)))]
    if kind == "code":
        what, parts[name] = _draw_payload(rng)
        kind = f"code by {what}"
    elif kind == "part deleted":
        del parts[name]
    elif kind == "part cut":
        parts[name] = parts[name][: int(rng.integers(len(parts[name]) or 1))]
    elif kind == "part zeroed":
        parts[name] = bytes(len(parts[name]))
    else:
        changed = bytearray(parts[name])
        changed[int(rng.integers(len(changed)))] ^= int(rng.integers(1, 256))
        parts[name] = bytes(changed)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for each, content in parts.items():
            archive.writestr(zipfile.ZipInfo(each), content)
    file.write_bytes(made.getvalue())
    return f"{kind} in {name.rpartition('/')[2]}"


def _draw_payload(rng: np.random.Generator) -> tuple[str, bytes]:
    """A pickle that makes the file of the marker in the folder in which it is read."""
    made = payloads(Path(MARKER))
    name = sorted(made)[int(rng.integers(len(made)))]
    return name, made[name]
