"""What HDF5 holds in a file edited: arrays, attributes, and links, also to other files."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tests.fuzz.mutations.arrays import change_array

SECRET_NUMBER, SECRET_NAME = 54321, "secret"
_HEAVY = ("indptr", "indices", "data", "_index", "X", "shape", "barcodes", "id")


def damage_hdf5(file: Path, rng: np.random.Generator) -> str:
    """Edit a file of HDF5; returns what was done, and where."""
    kind = rng.random()
    if kind < 0.15:
        make_secret(file, file.parent / "elsewhere.h5")
    with h5py.File(file, "a") as group:
        arrays, groups = _list(group)
        if kind < 0.15:
            return _damage_link(group, _pick(arrays, rng), file.parent / "elsewhere.h5", rng)
        if kind < 0.4:
            name = _pick([*arrays, *groups, "/"], rng)
            return f"{_damage_attribute(group[name], rng)} of {name}"
        name = _pick(arrays, rng)
        return f"{name} {_damage_dataset(group, name, rng)}"


def make_secret(file: Path, target: Path) -> None:
    """A file of the same layout, whose values and names are told from all others."""
    with h5py.File(file) as source, h5py.File(target, "w") as other:
        for name in source:
            source.copy(name, other)
        arrays, _ = _list(other)
        for name in arrays:
            dataset = other[name]
            if dataset.dtype.kind in "OS":
                names = [f"{SECRET_NAME}{i}".encode() for i in range(dataset.size)]
                kind = object if dataset.dtype.hasobject else dataset.dtype
                dataset[...] = np.array(names).astype(kind).reshape(dataset.shape)
            elif name.endswith(("data", "X")):
                dataset[...] = np.full(dataset.shape, SECRET_NUMBER)


def _list(file: h5py.File) -> tuple[list[str], list[str]]:
    arrays: list[str] = []
    groups: list[str] = []

    def visit(name: str, node: Any) -> None:
        (arrays if isinstance(node, h5py.Dataset) else groups).append(name)

    file.visititems(visit)
    return arrays, groups


def _pick(names: list[str], rng: np.random.Generator) -> str:
    heavy = [each for each in names if each.rpartition("/")[2] in _HEAVY]
    among = heavy if heavy and rng.random() < 0.6 else names
    return among[int(rng.integers(len(among)))]


def _damage_attribute(node: Any, rng: np.random.Generator) -> str:
    names = sorted(node.attrs)
    if not names:
        node.attrs["encoding-type"] = "array"
        return "attribute added"
    name = names[int(rng.integers(len(names)))]
    if rng.random() < 0.25:
        del node.attrs[name]
        return f"attribute {name} deleted"
    odd: list[Any] = ["", "odd", "csc_matrix", "csr_matrix", "dataframe", "categorical", -1, 0, 3.5,
                      np.nan, np.array([2**40, 3]), np.array([-1, -1]), np.array([1]),
                      np.array([40, 2**40]), np.array([2**62, 2**62]), h5py.Empty("f"),
                      np.array(["a", "b"], dtype=object), np.array([3.5, np.nan])]  # fmt: skip
    node.attrs[name] = odd[int(rng.integers(len(odd)))]
    return f"attribute {name} changed"


def _damage_dataset(group: h5py.File, name: str, rng: np.random.Generator) -> str:
    if rng.random() < 0.1:
        return _claim_more(group, name, rng)
    values, attributes = group[name][()], dict(group[name].attrs)
    kind, changed = change_array(values, rng)
    del group[name]
    if changed is None:
        return kind
    if isinstance(changed, dict):
        group.create_group(name)
    else:
        is_text = np.asarray(changed).dtype.kind == "O"
        dtype = h5py.string_dtype() if is_text else None
        group.create_dataset(name, data=changed, dtype=dtype)
    group[name].attrs.update(attributes)
    return kind


def _claim_more(group: h5py.File, name: str, rng: np.random.Generator) -> str:
    """A dataset of which next to nothing was written, and that claims to be very long."""
    attributes, dtype = dict(group[name].attrs), group[name].dtype
    length = int(rng.choice([2**33, 2**40, 2**60]))
    n_dimensions = max(group[name].ndim, 1)
    del group[name]
    shape = (length, *(120,) * (n_dimensions - 1)) if length < 2**60 else (length,)
    group.create_dataset(name, shape, dtype, chunks=tuple(min(each, 1000) for each in shape))
    group[name].attrs.update(attributes)
    return f"claims a length of {length:,}"


def _damage_link(group: h5py.File, name: str, elsewhere: Path, rng: np.random.Generator) -> str:
    attributes = dict(group[name].attrs)
    dataset = group[name]
    shape, dtype = dataset.shape, dataset.dtype
    place = name if rng.random() < 0.7 else name.partition("/")[0]
    kinds = ("nowhere", "itself", "the root", "another", "no file", "another file",
             "another file", "raw bytes elsewhere", "a view of another file")  # fmt: skip
    kind = str(rng.choice(kinds))
    if kind in ("raw bytes elsewhere", "a view of another file"):
        place = name
    others = sorted(_list(group)[0])
    del group[place]
    if kind == "nowhere":
        group[place] = h5py.SoftLink("/not/there")
    elif kind == "itself":
        group[place] = h5py.SoftLink(f"/{place}")
    elif kind == "the root":
        group[place] = h5py.SoftLink("/")
    elif kind == "another":
        group[place] = h5py.SoftLink(f"/{others[int(rng.integers(len(others)))]}")
    elif kind == "no file":
        group[place] = h5py.ExternalLink("no-such-file.h5", f"/{place}")
    elif kind == "another file":
        group[place] = h5py.ExternalLink(str(elsewhere), f"/{place}")
    elif kind == "raw bytes elsewhere" and dtype.kind in "iuf":
        raw = elsewhere.with_suffix(".bin")
        raw.write_bytes(np.full(shape, SECRET_NUMBER).astype(dtype).tobytes())
        group.create_dataset(place, shape, dtype, external=[(str(raw), 0, raw.stat().st_size)])
        group[place].attrs.update(attributes)
    else:
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(str(elsewhere), name, shape)
        group.create_virtual_dataset(place, layout)
        group[place].attrs.update(attributes)
    return f"{place} linked to {kind}"
