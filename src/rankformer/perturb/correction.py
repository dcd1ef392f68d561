"""What estimates of a screen miss, learned from exact runs of many cells.

It is smooth along the ranks, much alike in the cells of one state, and a little different in each:
a Gaussian process (Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, ch. 2)
whose covariance has a part that all cells share, a part of each cell, and what is each gene's own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Length along the ranks, as a share of them; and variances, where that of what cells share is 1: of
# what is smooth in one cell, of what all ranks of a cell have in common, of each gene's own; and of
# the mean, of which nothing is known.
_LENGTH, _OF_CELL, _COMMON, _OWN, _MEAN = 0.2, 0.5, 0.3, 0.1, 1e4
# The number of a cell that nothing is asked of any more.
FORMER = -1


@dataclass(frozen=True, eq=False)
class KnownErrors:
    """What the estimates of edits missed that were run exactly.

    Attributes
    ----------
    cells
        (n,) int64: the cell of each; -1 of a cell that nothing is asked of.
    places
        (n,) float64: its rank as a share of the cell's.
    errors
        (n, n_columns) float64.
    """

    cells: NDArray[np.int64]
    places: NDArray[np.float64]
    errors: NDArray[np.float64]

    def join(self, other: "KnownErrors") -> "KnownErrors":
        """These, and behind them others."""
        return KnownErrors(
            np.concatenate([self.cells, other.cells]),
            np.concatenate([self.places, other.places]),
            np.concatenate([self.errors, other.errors]),
        )

    def forget_cells(self, n_most: int) -> "KnownErrors":
        """At most the last of them, as of cells that nothing is asked of any more."""
        own = slice(max(len(self.cells) - n_most, 0), None)
        cells = np.full(len(self.cells), FORMER)[own]
        return KnownErrors(cells, self.places[own], self.errors[own])


class Correction:
    """Predicts errors of edits at other ranks and in other cells.

    Parameters
    ----------
    known
        At least one.
    """

    def __init__(self, known: KnownErrors) -> None:
        self.known = known
        covariance = self._covariance(known.places, known.cells) + _OWN * np.eye(len(known.cells))
        self._precision = np.linalg.inv(covariance)
        self._weights = self._precision @ known.errors

    def predict(self, places: NDArray[np.float64], cell: int) -> NDArray[np.float64]:
        """(n, n_columns): errors at some places of a cell."""
        cells = np.full(len(places), cell)
        return np.asarray(self._covariance(places, cells) @ self._weights)

    def leave_out(self) -> NDArray[np.float64]:
        """(n, n_columns): each known error, as the others predict it (ib., eq. 5.12)."""
        return np.asarray(self.known.errors - self._weights / np.diag(self._precision)[:, None])

    def _covariance(
        self, places: NDArray[np.float64], cells: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        known = self.known
        near = np.exp(-0.5 * ((places[:, None] - known.places) / _LENGTH) ** 2)
        is_same = (cells[:, None] == known.cells) & (cells[:, None] != FORMER)
        return np.asarray(_MEAN + near + is_same * (_OF_CELL * near + _COMMON))
