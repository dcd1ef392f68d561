"""Counts that were estimated: shared out among genes, or less what came from outside of the cell.

Two kinds are told apart. Where reads that fit several genes are shared out (alevin-fry, salmon,
kallisto, STARsolo, RSEM), most values stay whole numbers. No usual transformation of counts does
that in every cell: scaling, logarithms and residuals leave no whole numbers, and powers only those
of ones and squares. Where ambient RNA is taken away (SoupX, decontX), hardly any value is whole;
then a look at the values alone cannot tell, and only excludes what counts cannot be.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.errors import CountsError

# Of the values above 1, as a power or root of a count of 1 is whole too.
_MOSTLY = 0.5
_PASSING_CELLS = 0.95
_ENOUGH_VALUES = 200
_ENOUGH_OF_A_CELL = 20
# One fraction among thousands of counts is a fault of the file, and no estimate.
_SOME_FRACTIONS = 0.002
# The natural logarithm of anything, and that of base 2 of counts in a million, are below.
_LARGEST_LOGARITHM = 20
_ONE_SUM = 0.01
# Estimates of a cell hardly ever meet; values that were counts, as often as the counts did.
_LEAST_DISTINCT = 0.25
_CELLS_TESTED = 64
_LARGEST_SQUARE, _NEARLY_WHOLE = 1e4, 0.01


def are_mostly_whole(cells: csr_matrix) -> bool:
    """Whether values are counts, some of which were shared out among genes.

    Parameters
    ----------
    cells
        (n_cells, n_vars) a sample in canonical format, all values finite and none negative, of
        which not all are whole, and which are no counts scaled per cell and no logarithms.
    """
    is_whole = cells.data == np.rint(cells.data)
    # Where values were cut off at a whole number, these are whole and no counts.
    is_large = (cells.data > 1) & (cells.data < cells.data.max())
    n_large, n_whole = (_per_cell(cells, each) for each in (is_large, is_large & is_whole))
    some = n_large > 0
    if n_whole.sum() < _ENOUGH_VALUES or (~is_whole).mean() < _SOME_FRACTIONS:
        return False
    return float((n_whole[some] >= _MOSTLY * n_large[some]).mean()) >= _PASSING_CELLS


def why_not_estimated(cells: csr_matrix) -> str | None:
    """Why values cannot be estimates of counts, in words; None where they may be.

    Parameters
    ----------
    cells
        As `are_mostly_whole` takes them.
    """
    if cells.data.max() <= _LARGEST_LOGARITHM:
        return f"no value is above {_LARGEST_LOGARITHM}, as in logarithms"
    sums = np.asarray(cells.sum(axis=1)).ravel()
    sums = sums[sums > 0]
    if len(sums) > 1 and np.ptp(sums) <= _ONE_SUM * sums.mean():
        return "all cells have the same sum, as after normalisation"
    if _are_roots(cells.data):
        return "their squares are whole numbers, as of roots of counts"
    if _distinct_share(cells) < _LEAST_DISTINCT:
        return "the fractions of a cell are a few values again and again, as of transformed counts"
    return None


def _are_roots(values: NDArray[np.floating]) -> bool:
    squares = values.astype(np.float64) ** 2
    # Of larger ones the rounding of float32 hides what is behind the point.
    squares = squares[squares < _LARGEST_SQUARE]
    near = np.abs(squares - np.rint(squares)) < _NEARLY_WHOLE
    return bool(squares.size) and float(near.mean()) >= _PASSING_CELLS


def _distinct_share(cells: csr_matrix) -> float:
    """Different fractions among the fractions of a cell, 0 to 1; of the middle one of some."""
    found = []
    for row in np.flatnonzero(np.diff(cells.indptr))[:_CELLS_TESTED]:
        values = cells.data[cells.indptr[row] : cells.indptr[row + 1]]
        values = values[values != np.rint(values)]
        if values.size:
            found.append(np.unique(values).size / values.size)
    return float(np.median(found)) if found else 0.0


def check_mostly_whole(
    cells: csr_matrix, *, first_row: int, obs_names: pd.Index, location: str
) -> None:
    """Refuse a chunk in which a cell holds something else than mostly whole numbers.

    Parameters
    ----------
    cells
        (n_cells, n_vars) in canonical format.
    first_row
        Row of the source that the first of `cells` is.
    obs_names
        Names of the source's cells, for the message.
    location
        Where the values lie, such as ``pbmc.h5ad: raw.X``.

    Raises
    ------
    CountsError
        If a cell does, as where cells of another file were normalised.
    """
    is_large = cells.data > 1
    n_large = _per_cell(cells, is_large)
    n_whole = _per_cell(cells, is_large & (cells.data == np.rint(cells.data)))
    odd = np.flatnonzero((n_large >= _ENOUGH_OF_A_CELL) & (n_whole == 0))
    if not len(odd):
        return
    row = first_row + int(odd[0])
    raise CountsError(
        f"{location} holds mostly whole numbers, but none above 1 in the cell {obs_names[row]!r} "
        f"(row {row:,}).",
        "Estimated counts in every cell: mostly whole numbers, with some fractions.",
        "See whether these cells were normalised, and take the file with the raw counts. To use "
        "values as they are, pass check=False (--no-check).",
    )


def _per_cell(cells: csr_matrix, marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many entries of each cell are marked."""
    ends = np.concatenate([[0], np.cumsum(marked, dtype=np.int64)])
    counted: NDArray[np.int64] = ends[cells.indptr[1:]] - ends[cells.indptr[:-1]]
    return counted
