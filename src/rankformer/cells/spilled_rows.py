"""CSR in temporary files: where a matrix goes that cannot be read by rows and is too large to turn
in memory. Memory is bounded by one block of values and two integers a cell.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.cells.row_matrices import CompressedRows, index_dtype
from rankformer.errors import CountsError

Entries = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Rows, columns and values of some entries of a matrix."""


class FileArray:
    """A one-dimensional array in a plain file; a slice reads that part and maps nothing."""

    def __init__(self, path: Path, dtype: np.dtype[Any], length: int) -> None:
        self.path, self.dtype, self.shape = path, dtype, (length,)

    def __getitem__(self, part: slice) -> NDArray[Any]:
        start, stop, _ = part.indices(self.shape[0])
        offset = start * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, max(stop - start, 0), offset=offset)

    def create(self) -> NDArray[Any]:
        """Make the file and map it for writing."""
        if not self.shape[0]:
            self.path.touch()
            return np.empty(0, self.dtype)
        return np.memmap(self.path, self.dtype, "w+", shape=self.shape)


class SpilledRows(CompressedRows):
    """CSR in temporary files, which are removed when it is closed or forgotten.

    Parameters
    ----------
    indptr
        (n_cells + 1,) where each row begins.
    shape
        (n_cells, n_vars).
    dtype
        Of the values.
    """

    def __init__(
        self, indptr: NDArray[np.int64], shape: tuple[int, int], dtype: np.dtype[Any]
    ) -> None:
        index = np.dtype(index_dtype(shape[1]))
        n_values = int(indptr[-1])
        self._folder = _make_folder(n_values * (dtype.itemsize + index.itemsize))
        self.values = FileArray(Path(self._folder.name) / "values", dtype, n_values)
        self.columns = FileArray(Path(self._folder.name) / "columns", index, n_values)
        super().__init__(self.values, self.columns, indptr, shape)

    def close(self) -> None:
        self._folder.cleanup()


def spill_rows(
    blocks: Callable[[], Iterator[Entries]],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    layout: str,
) -> SpilledRows:
    """Bring entries that come in any order into rows, in temporary files.

    Parameters
    ----------
    blocks
        Called twice: all entries, a block at a time, each time in the same order.
    shape
        (n_cells, n_vars).
    dtype
        Of the values.
    layout
        How the entries lie in the source.

    Returns
    -------
    The rows. Within a row, entries keep the order in which they came.

    Raises
    ------
    CountsError
        If the disk that holds temporary files has too little room.
    """
    indptr = np.zeros(shape[0] + 1, np.int64)
    for rows, _, _ in blocks():
        indptr[1:] += np.bincount(rows, minlength=shape[0])
    np.cumsum(indptr, out=indptr)
    spilled = SpilledRows(indptr, shape, dtype)
    spilled.layout = layout
    _scatter(blocks(), indptr[:-1].copy(), spilled)
    return spilled


def _scatter(blocks: Iterator[Entries], free: NDArray[np.int64], spilled: SpilledRows) -> None:
    """Write entries to their rows; `free` is the next free place of each row."""
    values_file, columns_file = spilled.values.create(), spilled.columns.create()
    for rows, columns, values in blocks:
        order = np.argsort(rows, kind="stable")
        run_rows, run_starts, run_sizes = np.unique(
            rows[order], return_index=True, return_counts=True
        )
        places = np.repeat(free[run_rows] - run_starts, run_sizes) + np.arange(order.size)
        values_file[places] = values[order]
        columns_file[places] = columns[order]
        free[run_rows] += run_sizes


def _make_folder(n_bytes: int) -> "tempfile.TemporaryDirectory[str]":
    room = shutil.disk_usage(tempfile.gettempdir()).free
    if room < n_bytes:
        raise CountsError(
            f"To read this matrix by cells takes {n_bytes / 1e9:.1f} GB of temporary files, and "
            f"{tempfile.gettempdir()} has room for {room / 1e9:.1f} GB.",
            "Room for one copy of the matrix, as it does not lie by cells (CSR) in the file.",
            "Set the environment variable TMPDIR to a folder with more room, or save the file "
            "with X as CSR.",
        )
    return tempfile.TemporaryDirectory(prefix="rankformer-")
