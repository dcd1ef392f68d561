"""What can be refused of an output before any work is done."""

import os
from collections.abc import Iterable
from pathlib import Path

from rankformer.errors import OutputError, SettingsError
from rankformer.placed import is_of_a_run
from rankformer.results.anndata_files import UNS_KEY
from rankformer.scratch import tell_leftovers

CELL_FORMATS = (".h5ad", ".zarr", ".npy", ".csv", ".parquet")
LABEL_FORMATS = (".h5ad", ".zarr", ".csv", ".parquet")
PICTURE_FORMATS = (".png", ".svg", ".pdf")
# Formats that have no place for provenance.
_WITH_A_FILE_BESIDE = (".npy", ".csv")


def check_target(path: str | os.PathLike[str], formats: Iterable[str], overwrite: bool) -> Path:
    """Refuse, before any work, a target that could not be written.

    Raises
    ------
    OutputError
        If the format is not one of `formats`, its folder is missing, or something is there
        already and `overwrite` is not given.
    """
    path = Path(path)
    formats = tuple(formats)
    if path.suffix not in formats:
        raise OutputError(
            f"The output {path} has the ending {path.suffix or '(none)'}.",
            f"{' or '.join(formats)}: the ending chooses the format.",
            f"Name it {(path.parent / path.stem).name}{formats[0]}, for example.",
        )
    _check_place(path, overwrite)
    return path


def check_folder_target(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """As `check_target`, for a folder of results, which may have any name.

    Raises
    ------
    OutputError
        If the folder above it is missing or not writable, a file is there, or a folder is there
        already and `overwrite` is not given.
    """
    path = Path(path)
    if path.is_file():
        raise OutputError(
            f"{path} is a file.", "A name for a folder.", "Choose another name (--output)."
        )
    _check_place(path, overwrite)
    return path


def check_cell_target(
    path: str | os.PathLike[str], overwrite: bool, formats: Iterable[str] = CELL_FORMATS
) -> Path:
    """As `check_target`, for vectors or labels of cells and for what is written beside them."""
    path = check_target(path, formats, overwrite)
    if path.suffix in _WITH_A_FILE_BESIDE:
        _check_free(provenance_file(path), overwrite)
    return path


def provenance_file(path: Path) -> Path:
    """Where the provenance of a ``.npy`` or ``.csv`` stands."""
    return path.with_name(path.name + ".json")


def _check_place(path: Path, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise OutputError(
            f"The folder {path.parent} does not exist.",
            "A folder that exists.",
            "Make it, or choose another output.",
        )
    if not os.access(path.parent, os.W_OK):
        raise OutputError(
            f"The folder {path.parent} cannot be written to.",
            "A folder with write permission.",
            "Choose another output.",
        )
    _check_free(path, overwrite)
    tell_leftovers(path)


def _check_free(path: Path, overwrite: bool) -> None:
    # What a killed run left there is checked again when the same run goes on.
    if path.exists() and not overwrite and not is_of_a_run(path):
        raise OutputError(
            f"{path} exists already.",
            "A name that is free, so that nothing is lost.",
            "Choose another name, or pass --overwrite.",
        )


def check_key(key: str, place: str = "obsm", example: str = "X_geneformer") -> None:
    """Refuse a name that ``obsm``, or another `place`, cannot have.

    HDF5 and zarr take a slash for a folder and dots for the folder itself; zarr keeps its own
    files beside the arrays. ``rankformer`` is where it is said in ``uns`` what was done.
    """
    if key == UNS_KEY and place == "uns":
        raise SettingsError(
            f"The name {key!r} was asked for in {place}.",
            "Another name: under this one stands, in uns, what was done.",
            "Pass another one as key_added (--key).",
        )
    if not key or "/" in key or key.startswith(".") or key == "zarr.json":
        raise SettingsError(
            f"The name {key!r} was asked for in {place}.",
            f"A name without a slash and without a dot at its beginning, such as {example}.",
            "Pass another one as key_added (--key).",
        )
