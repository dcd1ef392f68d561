"""Everything that holds cells, opened alike: AnnData, h5ad, zarr, Cell Ranger's files."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import issparse

from rankformer.cells.csc_rows import CompressedColumns
from rankformer.cells.file_kinds import (
    IN_MEMORY,
    FileKind,
    choose_table,
    identify,
    locate_table,
    reading,
)
from rankformer.cells.obs_tables import read_table
from rankformer.cells.row_matrices import CompressedRows, DenseRows, RowMatrix, SelectedRows
from rankformer.cells.tenx import TenxMatrix, find_matrix_files, read_tenx_folder, read_tenx_h5
from rankformer.errors import CountsError, SettingsError

X, RAW_X = "X", "raw.X"


@dataclass(frozen=True, eq=False)
class MatrixPlace:
    """A matrix that a source holds, not yet opened.

    Attributes
    ----------
    location
        ``X``, ``raw.X`` or ``layers["counts"]``.
    layer
        The layer's name, or None.
    open
        Gives the matrix.
    read_var
        Gives its variables.
    """

    location: str
    layer: str | None
    open: Callable[[], RowMatrix]
    read_var: Callable[[], pd.DataFrame]


@dataclass(eq=False)
class OpenSource:
    """An opened source: its cells, and where matrices lie in it.

    Attributes
    ----------
    name
        Path as it was given, or ``AnnData``.
    path
        None for AnnData in memory.
    obs
        All cells.
    places
        In the order X, raw.X, layers; without those that are not there.
    note
        What was left out, or nothing.
    n_threads
        Threads that read a matrix where that helps.
    """

    name: str
    path: Path | None
    obs: pd.DataFrame
    places: Mapping[str, MatrixPlace]
    note: str = ""
    n_threads: int = 1
    resources: ExitStack = field(default_factory=ExitStack)
    _opened: dict[str, RowMatrix] = field(default_factory=dict)

    def matrix(self, location: str) -> RowMatrix:
        """Open a matrix once, and check that it fits cells and variables."""
        if location not in self._opened:
            with reading(self.name, location):
                matrix = self.places[location].open()
                matrix.use_threads(self.n_threads)
            self.resources.callback(matrix.close)
            self._check_shape(matrix, location)
            self._opened[location] = matrix
        return self._opened[location]

    def var(self, location: str) -> pd.DataFrame:
        """Variables of a matrix."""
        with reading(self.name, f"The variables of {location}"):
            return self.places[location].read_var()

    def close(self) -> None:
        self.resources.close()

    def _check_shape(self, matrix: RowMatrix, location: str) -> None:
        n_vars = len(self.var(location))
        if matrix.shape != (len(self.obs), n_vars):
            rows, columns = matrix.shape
            raise CountsError(
                f"{location} of {self.name} has {rows:,} rows and {columns:,} columns, for "
                f"{len(self.obs):,} cells in obs and {n_vars:,} variables in var.",
                "One row a cell and one column a variable.",
                "The file is damaged or was put together wrongly: write it again with anndata.",
            )
        if not n_vars:
            raise CountsError(
                f"{location} of {self.name} has 0 variables.",
                "A column for each gene.",
                "Check how the file was subset before it was saved.",
            )


def list_sources(given: Any) -> list[Any]:
    """One source, or a sequence of sources, as a list: a text, a path and AnnData are one each.

    Raises
    ------
    CountsError
        If there is none.
    """
    many = isinstance(given, Sequence | Iterator) and not isinstance(given, str | bytes)
    sources = list(given) if many else [given]
    if not sources:
        raise CountsError(
            "No source of cells was given.",
            "AnnData, the path of a file or folder, or a list of these.",
            "Name at least one.",
        )
    return sources


def open_source(source: ad.AnnData | str | os.PathLike[str]) -> OpenSource:
    """Open AnnData or a file, without reading any matrix.

    Raises
    ------
    CountsError
        If there is no such file, it may not be read, is damaged, or is of another kind.
    """
    if isinstance(source, ad.AnnData):
        return _open_anndata(source)
    if not isinstance(source, str | os.PathLike):
        raise CountsError(
            f"The cells are given as {type(source).__name__}.",
            "AnnData, or the path of a file.",
            "Wrap a matrix: anndata.AnnData(counts, obs=..., var=...); names of genes alone, for "
            "map_genes, as the index of a pandas.DataFrame.",
        )
    path = Path(source)
    kind = identify(path, parts=None)
    with ExitStack() as resources, reading(str(path)):
        opened = _OPENERS[kind](path, resources)
        opened.resources = resources.pop_all()
    return opened


def _open_anndata(adata: ad.AnnData) -> OpenSource:
    # A view gives its parent's matrix and a selection, so that no copy of the whole is made.
    whole = adata._adata_ref if adata.is_view else adata
    rows = np.arange(whole.n_obs)[adata._oidx] if adata.is_view else None
    columns = np.arange(whole.n_vars)[adata._vidx] if adata.is_view else None
    raw = whole.raw
    places = [_place(X, lambda: whole.X, lambda: adata.var, rows, columns)]
    if whole.X is None:
        places = []
    if raw is not None:
        places.append(_place(RAW_X, lambda: raw.X, lambda: fill_var(raw.var, adata.var), rows))
    for name in whole.layers:
        places.append(_layer_place(name, whole.layers, lambda: adata.var, rows, columns))
    path = Path(adata.filename) if adata.isbacked else None
    return OpenSource(
        str(path) if path else IN_MEMORY, path, adata.obs, {each.location: each for each in places}
    )


def _open_h5ad(path: Path, resources: ExitStack) -> OpenSource:
    file = resources.enter_context(h5py.File(path, "r"))
    return _open_old_h5ad(path) if _is_of_old_form(file) else _open_group(path, file)


def _is_of_old_form(file: h5py.File) -> bool:
    """Whether obs and var are compound tables, as anndata wrote them before 0.7."""
    return any(isinstance(file.get(key), h5py.Dataset) for key in ("obs", "var"))


def _open_old_h5ad(path: Path) -> OpenSource:
    with warnings.catch_warnings():
        # anndata says of each part that it is old.
        warnings.simplefilter("ignore")
        opened = _open_anndata(ad.read_h5ad(path))
    # Without a path, as nothing can be added to such a file.
    opened.name = str(path)
    opened.note = "The file is of an old form (anndata before 0.7) and was read whole."
    return opened


def _open_zarr(path: Path, _: ExitStack) -> OpenSource:
    table = locate_table(path)
    opened = _open_group(table, open_zarr(table))
    if table != path:
        opened.note = f"Of {path}, the table {table.relative_to(path)} is read."
    return opened


def open_zarr(path: Path) -> Any:
    """Open a store to read it, as it lies: metadata that were consolidated lack some columns of
    obs where the names of two differ in case alone.
    """
    import zarr

    return zarr.open_group(str(path), mode="r", use_consolidated=False)


def _open_mudata(path: Path, resources: ExitStack) -> OpenSource:
    file = resources.enter_context(h5py.File(path, "r"))
    name = choose_table(list(file["mod"]), f"{path} holds", "")
    opened = _open_group(path, file[f"mod/{name}"])
    # Without a path, as nothing is added to a file of several tables.
    opened.path = None
    opened.note = f"The modality {name} of a MuData file is read."
    return opened


def _open_group(path: Path, group: Any) -> OpenSource:
    _check_tables(path, group)
    read_var = _once(lambda: read_table(group["var"]))
    places = []
    if _is_matrix(group, "X"):
        places.append(_place(X, lambda: group["X"], read_var))
    # A raw that is missing may be written as an empty element, too.
    if "raw" in group and hasattr(group["raw"], "keys") and _is_matrix(group["raw"], "X"):
        read_raw_var = _once(lambda: fill_var(read_table(group["raw/var"]), read_var()))
        places.append(_place(RAW_X, lambda: group["raw/X"], read_raw_var))
    layers = group.get("layers", {})
    places += [_layer_place(name, layers, read_var) for name in layers]
    return OpenSource(
        str(path), path, read_table(group["obs"]), {each.location: each for each in places}
    )


def _check_tables(path: Path, group: Any) -> None:
    missing = [key for key in ("obs", "var") if key not in group]
    if missing:
        raise CountsError(
            f"{path} holds {', '.join(sorted(group)) or 'nothing'}, "
            f"but no {' and no '.join(missing)}.",
            "A file written by anndata 0.7 or later.",
            "Check that this is the file you mean.",
        )
    if not all(hasattr(group[key], "keys") for key in ("obs", "var")):
        raise CountsError(
            f"{path} holds obs and var as something else than tables.",
            "A file written by anndata 0.7 or later.",
            "Open and save it again: anndata.read_zarr(path).write_zarr(...).",
        )


def _open_tenx_h5(path: Path, resources: ExitStack) -> OpenSource:
    file = resources.enter_context(h5py.File(path, "r"))
    return _open_tenx(path, read_tenx_h5(file, str(path)))


def _open_tenx_folder(path: Path, _: ExitStack) -> OpenSource:
    matrix_file = find_matrix_files(path)[0] if path.is_dir() else path
    return _open_tenx(path, read_tenx_folder(matrix_file, str(path)))


def _open_tenx(path: Path, tenx: TenxMatrix) -> OpenSource:
    place = MatrixPlace(X, None, lambda: tenx.matrix, lambda: tenx.var)
    return OpenSource(str(path), path, tenx.obs, {X: place}, tenx.note)


_OPENERS: Mapping[FileKind, Callable[[Path, ExitStack], OpenSource]] = {
    FileKind.H5AD: _open_h5ad,
    FileKind.ZARR: _open_zarr,
    FileKind.MUDATA: _open_mudata,
    FileKind.TENX_H5: _open_tenx_h5,
    FileKind.TENX_FOLDER: _open_tenx_folder,
}


def fill_var(raw_var: pd.DataFrame, var: pd.DataFrame) -> pd.DataFrame:
    """Add to raw's variables the columns that only `var` has, matched by name.

    CELLxGENE keeps ``feature_name`` in one of the two.
    """
    missing = [column for column in var.columns if column not in raw_var.columns]
    unique = var.loc[~var.index.duplicated(), missing]
    return raw_var.join(unique) if missing else raw_var


def as_row_matrix(values: Any) -> RowMatrix:
    """See a matrix by rows: scipy sparse, numpy, dask, HDF5, zarr, or anndata's backed ones."""
    if hasattr(values, "group"):
        values = values.group
    if issparse(values):
        if values.format not in ("csr", "csc"):
            values = values.tocsr()
        arrays = (values.data, values.indices, values.indptr)
        return _COMPRESSED[values.format](*arrays, values.shape)
    if hasattr(values, "keys"):
        return _as_compressed(values)
    return DenseRows(values)


def _as_compressed(group: Any) -> RowMatrix:
    encoding = str(group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", "")))
    shape = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
    layout = encoding.removesuffix("_matrix")
    if layout not in _COMPRESSED or shape is None:
        raise ValueError(f"it has the encoding {encoding!r}, not csr_matrix, csc_matrix or array")
    for name in ("data", "indices"):
        _check_whole(group[name], name)
    arrays = (group["data"], group["indices"], group["indptr"])
    return _COMPRESSED[layout](*arrays, (int(shape[0]), int(shape[1])), may_repeat=False)


def _check_whole(array: Any, name: str) -> None:
    """Refuse a zarr array of which chunks are missing: zarr would read them as zeros."""
    if getattr(array, "shards", None) is not None or not hasattr(array, "nchunks_initialized"):
        return
    missing = array.nchunks - array.nchunks_initialized
    if missing > 0:
        raise ValueError(f"{missing:,} of the {array.nchunks:,} chunks of {name} are missing")


_COMPRESSED: Mapping[str, Callable[..., RowMatrix]] = {
    "csr": CompressedRows,
    "csc": CompressedColumns,
}


def _place(
    location: str,
    get: Callable[[], Any],
    read_var: Callable[[], pd.DataFrame],
    rows: NDArray[np.int64] | None = None,
    columns: NDArray[np.int64] | None = None,
    layer: str | None = None,
) -> MatrixPlace:
    def open_matrix() -> RowMatrix:
        matrix = as_row_matrix(get())
        return matrix if rows is None else SelectedRows(matrix, rows, columns)

    return MatrixPlace(location, layer, open_matrix, read_var)


def _layer_place(
    name: str,
    layers: Any,
    read_var: Callable[[], pd.DataFrame],
    rows: NDArray[np.int64] | None = None,
    columns: NDArray[np.int64] | None = None,
) -> MatrixPlace:
    return _place(f'layers["{name}"]', lambda: layers[name], read_var, rows, columns, name)


def _is_matrix(group: Any, key: str) -> bool:
    """Whether there is one: anndata writes a missing X as an empty element or not at all."""
    return key in group and group[key].attrs.get("encoding-type") != "null"


def _once(read: Callable[[], pd.DataFrame]) -> Callable[[], pd.DataFrame]:
    kept: list[pd.DataFrame] = []

    def read_once() -> pd.DataFrame:
        if not kept:
            kept.append(read())
        return kept[0]

    return read_once


def expect_names_of_text(paths: Sequence[Path]) -> None:
    """Refuse names that no result could hold: some systems allow any bytes in the name of a file.

    Raises
    ------
    SettingsError
        If there is such a one.
    """
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise SettingsError(
                f"The name of the input {str(path)!a} is no text in UTF-8.",
                "Names that are, as they stand in the results.",
                "Rename it.",
            ) from error
