"""Matrices that lie by columns, read by rows within bounded memory.

What fits into `IN_MEMORY_BYTES` is turned in memory, what does not is turned in temporary files.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from rankformer.cells.row_matrices import (
    CompressedMatrix,
    CompressedRows,
    RowMatrix,
    as_real,
    check_indices,
    index_dtype,
    refuse_repeats,
)
from rankformer.cells.spilled_rows import Entries, spill_rows

IN_MEMORY_BYTES = 256 << 20
BLOCK_VALUES = 4_000_000


class CompressedColumns(CompressedMatrix):
    """CSC arrays; `indices` are rows."""

    layout, axis = "csc", 1

    def rows(self, start: int, stop: int) -> csr_matrix:
        rows = self._by_rows.rows(start, stop)
        if not self._may_repeat:
            refuse_repeats(rows, start)
        return rows

    def sample(self, index: NDArray[np.int64]) -> csr_matrix:
        """The rows at `index`, in one pass over the values where they would not fit in memory."""
        if self._fits or "_by_rows" in self.__dict__:
            return self.pick(index)
        wanted, place = np.unique(index, return_inverse=True)
        new_row = np.full(self.shape[0], -1, np.int64)
        new_row[wanted] = np.arange(wanted.size)
        kept = []
        for rows, columns, values in self._blocks():
            hit = new_row[rows] >= 0
            kept.append((new_row[rows[hit]], columns[hit], values[hit]))
        rows, columns, values = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        return csr_matrix((values, (rows, columns)), shape=(wanted.size, self.shape[1]))[place]

    def row_sizes(self) -> NDArray[np.int64] | None:
        return self._by_rows.row_sizes() if self._fits else None

    def close(self) -> None:
        if "_by_rows" in self.__dict__:
            self._by_rows.close()

    @property
    def _fits(self) -> bool:
        width = self.dtype.itemsize + np.dtype(self._indices.dtype).itemsize
        return bool(int(self._indptr[-1]) * width <= IN_MEMORY_BYTES)

    @cached_property
    def _by_rows(self) -> RowMatrix:
        if not self._fits:
            return spill_rows(
                self._blocks, self.shape, as_real(np.empty(0, self.dtype)).dtype, self.layout
            )
        values = as_real(np.asarray(self._data[:]))
        rows = self._rows_of(0, self.shape[1])
        turned = csc_matrix((values, rows, self._indptr), shape=self.shape).tocsr()
        return CompressedRows(turned.data, turned.indices, turned.indptr, self.shape)

    def _blocks(self) -> Iterator[Entries]:
        for first, last in _split_columns(self._indptr):
            start, stop = int(self._indptr[first]), int(self._indptr[last])
            sizes = np.diff(self._indptr[first : last + 1])
            yield (
                self._rows_of(first, last),
                np.repeat(np.arange(first, last, dtype=index_dtype(self.shape[1])), sizes),
                as_real(np.asarray(self._data[start:stop])),
            )

    def _rows_of(self, first: int, last: int) -> NDArray[Any]:
        """Rows of the values of columns first … last - 1."""
        starts = self._indptr[first : last + 1]
        rows = np.asarray(self._indices[starts[0] : starts[-1]])
        check_indices(rows, self.shape[0], "column", starts - starts[0], first)
        return rows.astype(index_dtype(self.shape[0]), copy=False)


def _split_columns(indptr: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of whole columns of about `BLOCK_VALUES` values."""
    first, n_vars = 0, len(indptr) - 1
    while first < n_vars:
        full = int(np.searchsorted(indptr, indptr[first] + BLOCK_VALUES, side="right")) - 1
        last = min(max(full, first + 1), n_vars)
        yield first, last
        first = last
