"""Damaged copies of sound files, each made from its number alone."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

MATRIX = ("X/indptr", "X/indices", "X/data")
NAMES = ("var/_index", "obs/_index")
CATEGORIES = ("obs/cell_type/codes", "obs/cell_type/categories")
GROUPS = ("/", "X", "obs", "var", "obs/cell_type")
ODD_VALUES = (None, True, -1, 1e300, "", "odd", [], [None], {}, {"a": 1})
ODD_NUMBERS = (-1, 0, 1, 2**31 - 1, 2**31, 2**40, 2**62, -(2**62))


@dataclass(frozen=True)
class Mutation:
    """What was done to a file: a word for the table, and which part."""

    kind: str
    part: str


def damage_bytes(file: Path, rng: np.random.Generator) -> str:
    """Flip, cut, zero, overwrite or repeat bytes; returns what was done."""
    content = bytearray(file.read_bytes())
    start = int(rng.integers(len(content))) if content else 0
    stop = min(start + int(2 ** rng.uniform(3, 12)), len(content))
    kind = str(rng.choice(["flipped", "cut", "zeroed", "overwritten", "repeated"]))
    if kind == "flipped":
        for place in rng.integers(len(content), size=rng.integers(1, 17)) if content else ():
            content[place] ^= int(rng.integers(1, 256))
    elif kind == "cut":
        del content[start:]
    elif kind == "zeroed":
        content[start:stop] = bytes(stop - start)
    elif kind == "overwritten":
        content[start:stop] = rng.bytes(stop - start)
    else:
        content[start:start] = content[start:stop]
    file.write_bytes(content)
    return f"bytes {kind}"


def damage_h5ad(file: Path, rng: np.random.Generator) -> Mutation:
    """Damage the bytes of a file, or what HDF5 holds in it."""
    if rng.random() < 0.4:
        return Mutation(damage_bytes(file, rng), "file")
    with h5py.File(file, "a") as group:
        if rng.random() < 0.25:
            name = _pick([each for each in (*GROUPS, *MATRIX, *NAMES) if each in group], rng)
            return Mutation(_damage_attribute(group[name], rng), name)
        datasets = (*MATRIX, *MATRIX, *NAMES, *CATEGORIES, "X")
        there = [each for each in datasets if isinstance(group.get(each), h5py.Dataset)]
        name = _pick(there, rng)
        return Mutation(_damage_dataset(group, name, rng), name)


def damage_dataset_folder(folder: Path, rng: np.random.Generator) -> Mutation:
    """Damage one file of a tokenized dataset."""
    file = folder / _pick(sorted(each.name for each in folder.iterdir()), rng)
    if file.suffix == ".json" and rng.random() < 0.7:
        return Mutation(_damage_json(file, rng), file.name)
    if rng.random() < 0.1:
        file.unlink()
        return Mutation("file deleted", file.name)
    if rng.random() < 0.1:
        file.write_bytes(b"")
        return Mutation("file emptied", file.name)
    return Mutation(damage_bytes(file, rng), file.name)


def copy_sound(source: Path, target: Path) -> Path:
    """A copy to be damaged, of a file or a folder."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    return target


def _pick(names: Any, rng: np.random.Generator) -> str:
    return str(names[int(rng.integers(len(names)))])


def _damage_attribute(node: Any, rng: np.random.Generator) -> str:
    names = sorted(node.attrs)
    if not names:
        node.attrs["encoding-type"] = "array"
        return "attribute added"
    name = _pick(names, rng)
    if rng.random() < 0.25:
        del node.attrs[name]
        return f"attribute {name} deleted"
    odd: list[Any] = ["", "odd", "csc_matrix", "csr_matrix", "dataframe", -1, 0, 3.5, np.nan,
                      np.array([2**40, 3]), np.array([-1, -1]), np.array([1]),
                      np.array(["a", "b"], dtype=object), np.array([3.5, np.nan])]  # fmt: skip
    node.attrs[name] = odd[int(rng.integers(len(odd)))]
    return f"attribute {name} changed"


def _damage_dataset(group: h5py.File, name: str, rng: np.random.Generator) -> str:
    values, attributes = group[name][()], dict(group[name].attrs)
    is_text = values.dtype.kind in "OSU"
    changes = _TEXT_CHANGES if is_text else _NUMBER_CHANGES
    kind = _pick(sorted(changes), rng)
    changed = changes[kind](np.array(values), rng)
    del group[name]
    if changed is None:
        return kind
    if isinstance(changed, h5py.Group | dict):
        group.create_group(name)
    else:
        group[name] = changed
    group[name].attrs.update(attributes)
    return kind


Change = Callable[[Any, np.random.Generator], Any]


def _odd_numbers(values: Any, rng: np.random.Generator) -> Any:
    values = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    places = rng.integers(values.size, size=rng.integers(1, 6))
    values.flat[places] = rng.choice(np.array(ODD_NUMBERS), places.size)
    return values


def _zero_range(values: Any, rng: np.random.Generator) -> Any:
    start = int(rng.integers(values.size))
    values.flat[start : start + int(rng.integers(1, max(values.size // 4, 2)))] = 0
    return values


def _one_off(values: Any, rng: np.random.Generator) -> Any:
    place = int(rng.integers(values.size))
    values.flat[place] += 1 if values.flat[place] == 0 or rng.random() < 0.5 else -1
    return values


_SHAPE_CHANGES: dict[str, Change] = {
    "deleted": lambda values, rng: None,
    "made a group": lambda values, rng: {},
    "shortened": lambda values, rng: values[: int(rng.integers(len(values)))],
    "lengthened": lambda values, rng: np.concatenate([values, values[: len(values) // 2]]),
    "made a scalar": lambda values, rng: values.flat[0],
    "made a column": lambda values, rng: values.reshape(-1, 1),
    "reversed": lambda values, rng: values[::-1],
    "shuffled": lambda values, rng: rng.permutation(values),
}
_NUMBER_CHANGES: dict[str, Change] = {
    **_SHAPE_CHANGES,
    "odd numbers": _odd_numbers,
    "a range zeroed": _zero_range,
    "one number one off": _one_off,
    "one lower throughout": lambda values, rng: values.astype(np.int64) - 1,
    "doubled": lambda values, rng: values.astype(np.int64) * 2,
    "all zero": lambda values, rng: np.zeros_like(values),
    "kept below one of its own": lambda values, rng: np.minimum(values, rng.choice(values.flat)),
    "as booleans": lambda values, rng: values.astype(bool),
    "as float16": lambda values, rng: values.astype(np.float16),
    "as float64": lambda values, rng: values.astype(np.float64),
    "as NaN": lambda values, rng: np.full(values.shape, np.nan),
    "as infinity": lambda values, rng: np.full(values.shape, np.inf),
    "as int8": lambda values, rng: values.astype(np.int64).astype(np.int8),
    "as uint64": lambda values, rng: values.astype(np.int64).astype(np.uint64),
    "as complex": lambda values, rng: values.astype(np.complex64),
    "as text": lambda values, rng: values.astype(str).astype("S"),
}
_TEXT_CHANGES: dict[str, Change] = {
    **_SHAPE_CHANGES,
    "one name emptied": lambda values, rng: np.where(np.arange(len(values)) == 3, b"", values),
    "all names one": lambda values, rng: np.full(values.shape, values.flat[0], dtype=object),
    "as numbers": lambda values, rng: np.arange(len(values)),
    "as NaN": lambda values, rng: np.full(values.shape, np.nan),
    "no text of Unicode": lambda values, rng: np.array([b"\xff\xfe"] * len(values), dtype="S"),
}


def _damage_json(file: Path, rng: np.random.Generator) -> str:
    document = json.loads(file.read_text())
    holder, key = document, None
    while isinstance(holder, dict | list) and len(holder):
        keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        key = keys[int(rng.integers(len(keys)))]
        if not isinstance(holder[key], dict | list) or rng.random() < 0.4:
            break
        holder = holder[key]
    if rng.random() < 0.1 or key is None or not len(holder):
        file.write_text(json.dumps(ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]))
        return "document replaced"
    if rng.random() < 0.2:
        del holder[key]
        kind = "value deleted"
    else:
        holder[key] = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
        kind = "value replaced"
    file.write_text(json.dumps(document))
    return f"{kind} at {key}"
