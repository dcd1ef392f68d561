"""Zarr stores: their arrays edited; metadata and chunks are files like others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tests.fuzz.mutations.arrays import change_array


def damage_store(store: Path, rng: np.random.Generator) -> str:
    """Edit an array or an attribute of a store; returns what was done."""
    import zarr

    group = zarr.open_group(str(store), mode="a", use_consolidated=False)
    arrays = sorted(_arrays(store))
    name = arrays[int(rng.integers(len(arrays)))]
    array = group[name]
    if rng.random() < 0.25:
        return f"{name} {_change_attributes(group, name, rng)}"
    attributes = dict(array.attrs)
    kind, changed = change_array(array[...], rng)
    del group[name]
    if changed is None:
        return f"{name} {kind}"
    if isinstance(changed, dict):
        group.create_group(name)
        return f"{name} {kind}"
    changed = np.asarray(changed)
    if changed.dtype.kind == "O":
        changed = changed.astype(str)
    if changed.dtype.kind == "U":
        changed = changed.astype(np.dtypes.StringDType())
    made = group.create_array(name, data=changed)
    made.attrs.update(attributes)
    return f"{name} {kind}"


def _arrays(store: Path) -> set[str]:
    marks = [*store.rglob(".zarray"), *store.rglob("zarr.json")]
    return {
        each.parent.relative_to(store).as_posix()
        for each in marks
        if each.name == ".zarray" or json.loads(each.read_bytes())["node_type"] == "array"
    }


def _change_attributes(group: Any, name: str, rng: np.random.Generator) -> str:
    parent = group[name.rpartition("/")[0]] if "/" in name else group
    node = parent if rng.random() < 0.5 else group[name]
    names = sorted(node.attrs)
    if not names:
        node.attrs["encoding-type"] = "odd"
        return "attribute added"
    key = names[int(rng.integers(len(names)))]
    odd: list[Any] = ["", "odd", "csc_matrix", "dataframe", -1, 3.5, None, [2**40, 3], [-1, -1],
                      [2**62, 2**62], ["a"], {}]  # fmt: skip
    node.attrs[key] = odd[int(rng.integers(len(odd)))]
    return f"attribute {key} changed"
