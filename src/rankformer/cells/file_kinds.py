"""Which files hold cells: told by what is in them, not by their names."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import h5py

from rankformer.cells.cell_budget import is_out_of_memory
from rankformer.cells.hdf5_trial import try_hdf5
from rankformer.cells.hdf5_walk import register_filters
from rankformer.cells.own_bytes import expect_own_store, refuse_other_files
from rankformer.cells.row_matrices import REPEATED
from rankformer.cells.tenx import find_matrix_files, holds_tenx, is_beside_matrix
from rankformer.errors import CountsError, MissingFileError, OutOfMemoryError, RankformerError
from rankformer.own_files import expect_own_files
from rankformer.printable import printable

logger = logging.getLogger(__name__)

S = TypeVar("S")

READABLE = ".h5ad, .zarr, Cell Ranger's .h5, or a folder with matrix.mtx, features and barcodes"
IN_MEMORY = "AnnData"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZARR_MARKS = (".zgroup", "zarr.json", ".zmetadata")
# Names that Muon and others give to the modality with counts of RNA.
_RNA = ("rna", "gex", "gene expression")
_BEGINNINGS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file.", "Run `git lfs pull`."),
    (b"<", "is a web page.", "Download the file again, signed in where the site asks for it."),
    (b"\x1f\x8b", "is compressed with gzip.", "Unpack it first: gunzip, or tar -xzf for .tar.gz."),
    (b"PK\x03\x04", "is a zip archive.", "Unpack it first."),
    (b"RDX", "is an R object.", "Save it from R as .h5ad or as a 10x folder."),
)


class FileKind(StrEnum):
    """The layouts that hold cells."""

    H5AD = ".h5ad"
    ZARR = ".zarr"
    MUDATA = "MuData .h5mu"
    TENX_H5 = "10x .h5"
    TENX_FOLDER = "10x folder"


def find_files(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, damaged: bool = False
) -> list[Path]:
    """Every source of cells that is named, or lies in a folder that is named.

    Parameters
    ----------
    paths
        Files, or folders that hold some, one level deep. Of one Cell Ranger run, the filtered
        matrix is taken before the raw one, and the ``.h5`` before the folder.
    damaged
        List files too that are named as cells are and cannot be read: they are not looked into.

    Returns
    -------
    Files as named, those of a folder sorted by name; each once. What is left out of a folder is
    logged.

    Raises
    ------
    MissingFileError
        If a path does not exist.
    CountsError
        If a folder holds nothing readable, or, unless `damaged`, a file in it that is named as one
        with cells is damaged.
    """
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = [file for path in named for file in _expand(Path(path), damaged=damaged)]
    if not found:
        raise CountsError(
            "No file was given.", f"At least one: {READABLE}.", "Name a file or a folder."
        )
    return list(each_once(found))


def each_once(sources: Iterable[S]) -> Iterator[S]:
    """Sources without the files that have come before under this or another name, which is said."""
    seen: set[Path] = set()
    for source in sources:
        if isinstance(source, Path):
            if source.resolve() in seen:
                logger.info("%s is named more than once, and is read once.", printable(str(source)))
                continue
            seen.add(source.resolve())
        yield source


def identify(path: Path, parts: Collection[str] | None = ()) -> FileKind:
    """Tell which kind of source a path is.

    HDF5 is tried in a process that can be given up on, before it is opened here.

    Parameters
    ----------
    path
        A file or folder.
    parts
        Names in the root of HDF5 of what is read after this, so that it is tried too; None for
        all.

    Raises
    ------
    MissingFileError
        If it does not exist.
    CountsError
        If it may not be read, or holds no cells; the message says what it is. Or if it is HDF5
        that the library finds no end of, or crashes on.
    """
    with reading(str(path)):
        if path.is_dir():
            return _identify_folder(path)
        if not path.exists():
            raise MissingFileError(
                f"{path} does not exist.", f"A file or folder: {READABLE}.", "Check the path."
            )
        if path.name.endswith(("matrix.mtx", "matrix.mtx.gz")):
            return FileKind.TENX_FOLDER
        with path.open("rb") as stream:
            beginning = stream.read(512)
        # MuData has a line of text before what HDF5 begins with.
        if beginning.startswith(_HDF5_MAGIC) or h5py.is_hdf5(path):
            try_hdf5(path, parts)
            return _identify_hdf5(path)
        raise _not_cells(path, beginning)


def locate_table(store: Path) -> Path:
    """The AnnData in a zarr store: the store itself, or the one table or the RNA in it.

    Parameters
    ----------
    store
        A zarr store of AnnData, SpatialData or MuData.

    Raises
    ------
    CountsError
        If it holds several tables, or several modalities of which none is named as RNA.
    """
    if (store / "obs").exists() and not (store / "mod").exists():
        return store
    for group in ("tables", "table", "mod"):
        tables = [child for child in _zarr_children(store / group) if (child / "obs").exists()]
        if tables:
            names = [table.name for table in tables]
            return store / group / choose_table(names, f"{store} holds", f"{store / group}/")
    return store


def choose_table(names: Sequence[str], holder: str, place: str) -> str:
    """The one table, or the one that is named as RNA.

    Parameters
    ----------
    names
        Of the tables.
    holder
        The beginning of a sentence that lists them.
    place
        What stands before a table's name where it is named by itself, or nothing.
    """
    chosen = list(names) if len(names) == 1 else [each for each in names if each.lower() in _RNA]
    if len(chosen) == 1:
        return chosen[0]
    raise CountsError(
        f"{holder} {len(names)} tables of cells: {', '.join(sorted(names))}.",
        "One table, or one that is named rna.",
        f"Name the one with the counts of RNA, such as {place}{min(names)}."
        if place
        else "Save the one with the counts of RNA: mudata.read(path)['...'].write_h5ad(...).",
    )


def _zarr_children(group: Path) -> list[Path]:
    if not group.is_dir():
        return []
    return [child for child in sorted(group.iterdir()) if child.is_dir()]


@contextmanager
def reading(name: str, part: str = "") -> Iterator[None]:
    """Turn whatever a damaged file makes its reader raise into a `CountsError`.

    Parameters
    ----------
    name
        The file.
    part
        What of it was being read, such as ``raw.X``.
    """
    try:
        yield
    except RankformerError:
        raise
    except PermissionError as error:
        raise CountsError(
            f"{name} may not be read by this user.", "A readable file.", "Change its permissions."
        ) from error
    # Readers of HDF5, zarr, gzip and text raise nearly anything, depending on the damage.
    except Exception as error:
        what = f"{part} of {name}" if part else name
        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"Memory ran out while {what} was read: {_one_line(error)}.",
                "Memory for what is read at once.",
                "Free memory, or ask the scheduler for more. If that is more than any machine has, "
                "the file is damaged: copy or download it again.",
            ) from error
        raise CountsError(
            f"{what} could not be read: {_one_line(error)}.",
            "A whole, undamaged file." if name != IN_MEMORY else "A matrix of numbers.",
            _advise(name, str(error)),
        ) from error


def _advise(name: str, reason: str) -> str:
    if name == IN_MEMORY:
        return "Pass a CSR or CSC matrix of scipy or an array of numpy, of integers or floats."
    if "not registered" in reason or "plugin" in reason:
        return "Its compression needs a plugin; install it with `pip install hdf5plugin`."
    if REPEATED in reason:
        return (
            "Copy or download the file again; where their sum is meant: adata = "
            "anndata.read_h5ad(path), adata.X.sum_duplicates(), adata.write_h5ad(...)."
        )
    return "Copy or download the file again, or open and save it with anndata."


def _identify_folder(path: Path) -> FileKind:
    if any((path / mark).exists() for mark in _ZARR_MARKS):
        expect_own_store(path)
        return FileKind.ZARR
    matrices = find_matrix_files(path)
    if len(matrices) == 1:
        expect_own_files(path, CountsError)
        return FileKind.TENX_FOLDER
    files = list(_search(path))
    raise CountsError(
        f"The folder {path} is no single source: it holds {_list_names(files or path.iterdir())}.",
        f"One of {READABLE}.",
        "Name one of these files; a list or a folder of several is embedded file by file."
        if files
        else "Check the path.",
    )


def _identify_hdf5(path: Path) -> FileKind:
    kind, keys = _look_into_hdf5(path)
    if kind is not None:
        return kind
    others = {
        "row_attrs": ("a loom file", "Convert it: scanpy.read_loom(path).write_h5ad(...)."),
        "molecule_info": ("molecule_info", "Take filtered_feature_bc_matrix.h5 beside it."),
        "barcode_idx": ("Cell Ranger's molecules", "Take filtered_feature_bc_matrix.h5 beside it."),
    }
    what, fix = next(
        (others[key] for key in others if key in keys),
        (f"HDF5 with {_list_names(map(Path, keys))}", "Check that this is the file you mean."),
    )
    raise CountsError(f"{path} is {what}.", f"One of {READABLE}.", fix)


def _look_into_hdf5(path: Path) -> tuple[FileKind | None, list[str]]:
    """The kind, or None where it holds something else than cells, and what lies in it."""
    register_filters()
    with h5py.File(path, "r") as file:
        keys = list(file)
        kind = FileKind.TENX_H5 if holds_tenx(file) else None
        if "mod" in keys:
            kind = FileKind.MUDATA
        elif {"obs", "var"} <= set(keys):
            kind = FileKind.H5AD
        if kind is not None:
            refuse_other_files(file, str(path))
        return kind, keys


def _not_cells(path: Path, beginning: bytes) -> CountsError:
    expected = f"One of {READABLE}."
    if not beginning:
        return CountsError(f"{path} is empty (0 bytes).", expected, "Download or write it again.")
    for start, found, fix in _BEGINNINGS:
        if beginning.lstrip().startswith(start):
            return CountsError(f"{path} {found}", expected, fix)
    line = beginning.decode("latin-1").splitlines()[0][:40]
    if line.isprintable() or "\t" in line:
        return CountsError(
            f"{path} is text that begins with {line!r}.",
            expected,
            "Read it as a table, cells by genes: anndata.AnnData(pandas.read_csv(path, "
            "index_col=0)).write_h5ad(...).",
        )
    return CountsError(f"{path} is neither HDF5 nor zarr.", expected, "Check the path.")


def _expand(path: Path, *, damaged: bool) -> list[Path]:
    if not path.is_dir():
        if not (damaged and path.exists()):
            identify(path)
        return [path]
    if any((path / mark).exists() for mark in _ZARR_MARKS) or len(find_matrix_files(path)) == 1:
        return [path]
    files = _prefer(list(_search(path, damaged=damaged)))
    if not files:
        raise CountsError(
            f"The folder {path} holds nothing readable: {_list_names(path.iterdir())}.",
            f"Files such as {READABLE}.",
            "Check the path; folders inside folders are not searched.",
        )
    _tell_left_out(path, files)
    return files


def _tell_left_out(folder: Path, files: Iterable[Path]) -> None:
    others = {child for child in folder.iterdir() if not child.name.startswith(".")}
    others = {child for child in others.difference(files) if not is_beside_matrix(child)}
    if others:
        names = (printable(each) for each in (str(folder), _list_names(others)))
        logger.info("Left out of the folder %s: %s.", *names)


def _search(folder: Path, *, damaged: bool = False) -> Iterator[Path]:
    for child in sorted(folder.iterdir()):
        if child.suffix in (".h5ad", ".h5mu", ".zarr", ".h5"):
            try:
                if child.suffix == ".h5" and _holds_other_hdf5(child):
                    continue
                # Named as cells: a damaged one is an error, not left out unseen.
                if not damaged:
                    identify(child)
            except CountsError:
                if not damaged:
                    raise
            _tell_link(child)
            yield child
        elif child.is_dir():
            with suppress(CountsError):
                identify(child)
                _tell_link(child)
                yield child
        elif child in find_matrix_files(folder):
            yield child


def _tell_link(child: Path) -> None:
    """Inputs are often gathered in a folder by links; where they lead is said."""
    if child.is_symlink():
        names = (printable(str(each)) for each in (child, child.resolve()))
        logger.info("%s is a link to %s, which is read.", *names)


def _holds_other_hdf5(path: Path) -> bool:
    """Whether it is a sound file of something else, such as Cell Ranger's molecules."""
    with reading(str(path)):
        if not h5py.is_hdf5(path):
            return False
        try_hdf5(path, ())
        return _look_into_hdf5(path)[0] is None


def _prefer(files: list[Path]) -> list[Path]:
    """Of one Cell Ranger run: filtered before raw, the file before the folder."""
    names = {file.name for file in files}
    twins = {name: name.replace("raw_", "filtered_") for name in names if "raw_feature" in name}
    return [
        file
        for file in files
        if twins.get(file.name) not in names and f"{file.name}.h5" not in names
    ]


def _list_names(files: Iterable[Path], most: int = 5) -> str:
    names = sorted(file.name for file in files)
    listed = ", ".join(names[:most]) or "nothing"
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rstrip(".")[:300]
