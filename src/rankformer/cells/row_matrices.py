"""Matrices of cells by variables that are read a block of rows at a time, wherever they lie."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse, vstack

from rankformer.cells.inflated_array import inflate_with_threads

REPEATED = "more than one value"
_DENSE_BLOCK_BYTES = 64 << 20


class RowMatrix(ABC):
    """A matrix, in memory or on disk, that gives its rows as CSR.

    Attributes
    ----------
    shape
        (n_cells, n_vars).
    dtype
        Of the values as they lie.
    layout
        ``csr``, ``csc`` or ``dense``: how they lie.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    layout: str

    @abstractmethod
    def rows(self, start: int, stop: int) -> csr_matrix:
        """Rows start … stop - 1 as they lie; may share memory with the source."""

    def pick(self, index: NDArray[np.int64]) -> csr_matrix:
        """The rows at `index`, in that order."""
        if not index.size:
            return self.rows(0, 0)
        wanted, place = np.unique(index, return_inverse=True)
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
        picked = [self.rows(int(run[0]), int(run[-1]) + 1) for run in runs]
        joined = picked[0] if len(picked) == 1 else vstack(picked, format="csr")
        return joined if np.array_equal(wanted, index) else joined[place]

    def sample(self, index: NDArray[np.int64]) -> csr_matrix:
        """The rows at `index`, for a look; may cost less than reading all rows would."""
        return self.pick(index)

    def row_sizes(self) -> NDArray[np.int64] | None:
        """Stored values of each row, where that is known without reading them."""
        return None

    def use_threads(self, n_threads: int) -> None:  # noqa: B027  # most have no use for them
        """Read with up to `n_threads` threads where that helps."""

    def close(self) -> None:  # noqa: B027  # most have nothing to remove
        """Remove temporary files."""


class CompressedMatrix(RowMatrix):
    """CSR or CSC arrays, in memory or on disk, whose starts are checked when they are opened.

    Parameters
    ----------
    data, indices
        Sliceable arrays, of numpy, HDF5, zarr or a file, one element a stored value.
    indptr
        (n_cells + 1,) where each row begins, or (n_vars + 1,) where each column does; read whole,
        8 bytes each.
    shape
        (n_cells, n_vars).
    may_repeat
        False refuses rows with several values of one variable, and may sort rows in place.
    """

    axis: int
    """0 where rows are compressed, 1 where columns are."""

    def __init__(
        self,
        data: Any,
        indices: Any,
        indptr: Any,
        shape: tuple[int, int],
        *,
        may_repeat: bool = True,
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(data.dtype)
        self._data, self._indices, self._may_repeat = data, indices, may_repeat
        compressed, listed = (("row", "columns"), ("column", "rows"))[self.axis]
        for name, array in (("data", data), ("indices", indices), ("indptr", indptr)):
            _check_one_dimension(name, array)
        self._indptr = read_indptr(
            indptr, compressed, shape[self.axis], data.shape[0], indices.shape[0]
        )
        check_index_type(indices, listed)

    def use_threads(self, n_threads: int) -> None:
        self._data = inflate_with_threads(self._data, n_threads)
        self._indices = inflate_with_threads(self._indices, n_threads)


class CompressedRows(CompressedMatrix):
    """CSR arrays."""

    layout, axis = "csr", 0

    def rows(self, start: int, stop: int) -> csr_matrix:
        indptr = self._indptr[start : stop + 1]
        first, last = int(indptr[0]), int(indptr[-1])
        values = as_real(np.asarray(self._data[first:last]))
        indices = np.asarray(self._indices[first:last])
        check_indices(indices, self.shape[1], "row", indptr - first, start)
        indices = indices.astype(index_dtype(self.shape[1]), copy=False)
        rows = csr_matrix((stop - start, self.shape[1]), dtype=values.dtype)
        rows.data, rows.indices = values, indices
        rows.indptr = (indptr - first).astype(index_dtype(last - first), copy=False)
        if not self._may_repeat:
            refuse_repeats(rows, start)
        return rows

    def row_sizes(self) -> NDArray[np.int64]:
        return np.diff(self._indptr)


class DenseRows(RowMatrix):
    """A dense array of numpy, HDF5, zarr or dask, read in blocks of at most 64 MiB."""

    layout = "dense"

    def __init__(self, array: Any) -> None:
        if len(array.shape) != 2:
            raise ValueError(f"it has {len(array.shape)} dimension(s), not 2")
        self.shape = (int(array.shape[0]), int(array.shape[1]))
        self.dtype = np.dtype(array.dtype)
        self._array = array

    def rows(self, start: int, stop: int) -> csr_matrix:
        row_bytes = max(1, self.shape[1] * max(self.dtype.itemsize, 1))
        step = max(1, _DENSE_BLOCK_BYTES // row_bytes)
        blocks = [
            self._block(first, min(first + step, stop)) for first in range(start, stop, step)
        ] or [self._block(start, start)]
        return blocks[0] if len(blocks) == 1 else vstack(blocks, format="csr")

    def _block(self, start: int, stop: int) -> csr_matrix:
        block = self._array[start:stop]
        if hasattr(block, "compute"):
            block = block.compute()
        return csr_matrix(block if issparse(block) else as_real(np.asarray(block)))


class SelectedRows(RowMatrix):
    """Some rows and columns of another matrix, in any order: what a view of AnnData shows.

    Parameters
    ----------
    matrix
        The whole.
    row_index, var_index
        Positions to take, or None for all.
    """

    def __init__(
        self,
        matrix: RowMatrix,
        row_index: NDArray[np.int64] | None = None,
        var_index: NDArray[np.int64] | None = None,
    ) -> None:
        self._matrix, self._row_index, self._var_index = matrix, row_index, var_index
        self.dtype, self.layout = matrix.dtype, matrix.layout
        self.shape = (
            matrix.shape[0] if row_index is None else len(row_index),
            matrix.shape[1] if var_index is None else len(var_index),
        )

    def rows(self, start: int, stop: int) -> csr_matrix:
        if self._row_index is None:
            return self._take_vars(self._matrix.rows(start, stop))
        return self._take_vars(self._matrix.pick(self._row_index[start:stop]))

    def sample(self, index: NDArray[np.int64]) -> csr_matrix:
        if self._row_index is not None:
            index = self._row_index[index]
        return self._take_vars(self._matrix.sample(index))

    def row_sizes(self) -> NDArray[np.int64] | None:
        sizes = self._matrix.row_sizes()
        return sizes if sizes is None or self._row_index is None else sizes[self._row_index]

    def use_threads(self, n_threads: int) -> None:
        self._matrix.use_threads(n_threads)

    def close(self) -> None:
        self._matrix.close()

    def _take_vars(self, rows: csr_matrix) -> csr_matrix:
        return rows if self._var_index is None else rows[:, self._var_index]


def make_canonical(rows: csr_matrix) -> csr_matrix:
    """Sort each row by variable, sum duplicates, drop explicit zeros; leaves `rows` as it is."""
    if rows.has_canonical_format and bool(np.all(rows.data)):
        return rows
    rows = rows.copy()
    if not rows.has_canonical_format:
        if rows.dtype.kind in "iu":
            rows = rows.astype(np.int64)  # a sum may exceed a narrow type
        rows.sum_duplicates()
    rows.eliminate_zeros()
    return rows


def as_real(values: NDArray[Any]) -> NDArray[Any]:
    """Values as native integers, float32 or float64; a ValueError for anything else."""
    if values.dtype.kind == "b":
        return values.view(np.uint8)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"it holds values of the type {values.dtype}, not numbers")
    if values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8):
        return values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def read_indptr(
    indptr: Any, line: str, n_lines: int, n_values: int, n_indices: int
) -> NDArray[np.int64]:
    """Where rows or columns begin, checked against the arrays that they point into.

    Parameters
    ----------
    indptr
        Sliceable, as it lies.
    line
        What it cuts the values into: ``row`` or ``column``.
    n_lines
        Rows or columns of the matrix.
    n_values, n_indices
        Lengths of ``data`` and ``indices``.

    Returns
    -------
    (n_lines + 1,) int64.

    Raises
    ------
    ValueError
        If these are no whole numbers, do not begin at 0, fall, or do not end with the values.
    """
    _check_whole_numbers(np.dtype(indptr.dtype), f"starts of its {line}s")
    if indptr.shape[0] != n_lines + 1:
        raise ValueError(f"it is cut into {indptr.shape[0] - 1:,} {line}s, not {n_lines:,}")
    starts = np.asarray(indptr[:]).astype(np.int64, copy=False)
    if starts[0] != 0:
        raise ValueError(f"its first {line} begins at value {starts[0]:,}, not at 0")
    falls = np.flatnonzero(np.diff(starts) < 0)
    if falls.size:
        where = int(falls[0])
        raise ValueError(
            f"{line} {where:,} begins at value {starts[where]:,} and ends at {starts[where + 1]:,}"
        )
    if not starts[-1] == n_values == n_indices:
        raise ValueError(
            f"its last {line} ends at value {starts[-1]:,}, but it holds {n_values:,} values and "
            f"{n_indices:,} indices"
        )
    return starts


def check_index_type(indices: Any, what: str) -> None:
    """A ValueError where positions are no whole numbers; `what` they are of."""
    _check_whole_numbers(np.dtype(indices.dtype), f"indices of its {what}")


def check_indices(
    indices: NDArray[Any], n_positions: int, line: str, starts: NDArray[np.int64], first: int
) -> None:
    """A ValueError where a position lies outside the matrix, which says in which row or column.

    Parameters
    ----------
    indices
        Positions of some whole rows or columns, as they lie.
    n_positions
        The other side of the matrix.
    line
        What `starts` cuts: ``row`` or ``column``.
    starts
        Where each of them begins in `indices`, and the end.
    first
        The number of the first of them.
    """
    if not indices.size or (indices.min() >= 0 and indices.max() < n_positions):
        return
    entry = int(np.flatnonzero((indices < 0) | (indices >= n_positions))[0])
    place = first + int(np.searchsorted(starts, entry, side="right")) - 1
    other = "column" if line == "row" else "row"
    raise ValueError(
        f"{line} {place:,} has a value in {other} {int(indices[entry]):,}, outside its "
        f"{n_positions:,} {other}s"
    )


def refuse_repeats(rows: csr_matrix, first: int) -> None:
    """Sort each row by variable, in place; a ValueError where one has several values of a variable.

    Where indices on disk were lost, they are read as zeros, or as others that are there already.

    Parameters
    ----------
    rows
        Rows whose memory is no one else's.
    first
        The number of the first of them.
    """
    if rows.has_canonical_format:
        return
    rows.sort_indices()
    again = np.flatnonzero(rows.indices[1:] == rows.indices[:-1]) + 1
    # Where a row begins, the value before is of another row.
    again = again[~np.isin(again, rows.indptr)]
    if again.size:
        row = first + int(np.searchsorted(rows.indptr, again[0], side="right")) - 1
        raise ValueError(f"row {row:,} has {REPEATED} in column {int(rows.indices[again[0]]):,}")
    rows.has_canonical_format = True


def _check_one_dimension(name: str, array: Any) -> None:
    if len(array.shape) != 1:
        shape = " x ".join(f"{size:,}" for size in array.shape)
        raise ValueError(f"its {name} are of {len(array.shape)} dimensions ({shape}), not of one")


def _check_whole_numbers(dtype: np.dtype[Any], what: str) -> None:
    if dtype.kind not in "iu":
        raise ValueError(f"the {what} are of the type {dtype}, not whole numbers")


def index_dtype(most: int) -> type[np.signedinteger[Any]]:
    """int32 where it can count to `most`, else int64."""
    return np.int32 if most <= np.iinfo(np.int32).max else np.int64
