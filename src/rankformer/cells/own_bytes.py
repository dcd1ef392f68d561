"""Files of cells that hold all that they show: none of it lies in other files, or is a pickle."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from rankformer.errors import CountsError
from rankformer.own_files import expect_own_files


def refuse_other_files(file: h5py.File, name: str) -> None:
    """Refuse HDF5 that takes groups or numbers from other files.

    HDF5 may name any file of the machine: by an external link, as the raw storage of a dataset, or
    as a source of a virtual one. What stands there would be read as counts or names of cells.

    Raises
    ------
    CountsError
        If it does so.
    """
    found = _first_from_elsewhere(file)
    if found is not None:
        raise CountsError(
            f"{name} takes {found!r} from another file.",
            "HDF5 that holds all that it shows: no external link, external storage or virtual "
            "dataset, by which a file could have others of this machine read.",
            "Where you trust it, open it and save it again with anndata.",
        )


def _first_from_elsewhere(file: h5py.File) -> str | None:
    """The place of the first, by the visitors of HDF5: a file may hold many hundred objects."""
    found = file.id.links.visit(_name_of_external_link, info=True)
    if found is None:
        found = h5py.h5o.visit(file.id, partial(_name_of_stored_elsewhere, file))
    return None if found is None else f"/{found}"


def _name_of_external_link(name: bytes, link: Any) -> str | None:
    inside = (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT)
    return None if link.type in inside else _text(name)


def _name_of_stored_elsewhere(file: h5py.File, name: bytes) -> str | None:
    found = h5py.h5o.open(file.id, name)
    if not isinstance(found, h5py.h5d.DatasetID):
        return None
    stored = found.get_create_plist()
    layout = stored.get_layout()
    is_elsewhere = layout == h5py.h5d.VIRTUAL or (
        layout == h5py.h5d.CONTIGUOUS and stored.get_external_count() > 0
    )
    return _text(name) if is_elsewhere else None


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def expect_own_store(store: Path) -> None:
    """Refuse a zarr store with links that lead out of it, or with arrays that are pickles.

    Raises
    ------
    CountsError
        If it has such.
    """
    expect_own_files(store, CountsError, within=True)
    for array in store.rglob(".zarray"):
        if "pickle" in _codecs(json.loads(array.read_text(encoding="utf-8"))):
            raise CountsError(
                f"{array.parent} is stored as pickles, which can run code when they are read.",
                "Numbers and texts, as anndata writes them.",
                "Where you trust it, open it and save it again with anndata.",
            )


def _codecs(array: Any) -> list[object]:
    """Names of what turns the bytes of an array of zarr's version 2 into its values."""
    steps = [array.get("compressor"), *(array.get("filters") or ())]
    return [each.get("id") for each in steps if isinstance(each, dict)]
