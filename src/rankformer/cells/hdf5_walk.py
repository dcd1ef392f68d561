"""A walk through an HDF5 file: what opening and reading it will need, without its large arrays."""

from collections.abc import Collection
from contextlib import suppress
from importlib import import_module
from math import prod
from typing import Any

import h5py

_SMALL_BYTES = 16 << 20
_BLOCK_VALUES = 1 << 16


def register_filters() -> None:
    """Register the compression filters that anndata offers, where they are installed."""
    with suppress(ImportError):
        import_module("hdf5plugin")


def walk_hdf5(path: str, parts: Collection[str] | None = None) -> None:
    """Visit groups, attributes, texts, small arrays, and the index of chunks of large ones.

    What cannot be read is passed over: whoever reads it later says so. No other file is entered.

    Parameters
    ----------
    path
        The file.
    parts
        Names in its root of what is visited as a whole, or None for all. Of the others, the names
        of their members are listed.
    """
    register_filters()
    with h5py.File(path, "r") as file:
        seen = {_address(file)}
        _read_attributes(file)
        waiting = [(file, name, parts is None or name in parts) for name in file]
        while waiting:
            group, name, wholly = waiting.pop()
            with suppress(Exception):
                if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                    continue
                member = group[name]
                if isinstance(member, h5py.Group) and _address(member) not in seen:
                    seen.add(_address(member))
                    names = list(member)
                    waiting += [(member, each, True) for each in names if wholly]
                _read_attributes(member)
                if wholly and isinstance(member, h5py.Dataset):
                    _read_array(member)


def _address(member: Any) -> int:
    return int(h5py.h5o.get_info(member.id).addr)


def _read_attributes(member: Any) -> None:
    for name in member.attrs:
        with suppress(Exception):
            member.attrs[name]


def _read_array(array: h5py.Dataset) -> None:
    if array.external or array.is_virtual:
        return
    if array.chunks is not None:
        # HDF5 goes through the whole index to tell it.
        array.id.get_num_chunks()
    if array.ndim == 0:
        array[()]
    # Texts lie elsewhere in the file than the array that names their places.
    elif array.dtype.hasobject or array.nbytes <= _SMALL_BYTES:
        step = max(1, _BLOCK_VALUES // max(1, prod(array.shape[1:])))
        for start in range(0, array.shape[0], step):
            array[start : start + step]
