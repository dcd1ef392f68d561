"""How far estimates of a screen can be trusted: beside exact runs that took no part in them."""

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rankformer.perturb.exact import Responses

logger = logging.getLogger(__name__)
# What rounding leaves of a movement.
_LEAST = 1e-9


class Trust:
    """Collects estimates and exact values of the same edits.

    Parameters
    ----------
    n_states
        States towards which shifts are measured.
    """

    def __init__(self, n_states: int) -> None:
        self.n_states = n_states
        self._estimates: list[NDArray[np.float64]] = []
        self._exact: list[NDArray[np.float64]] = []

    def add(self, estimates: Responses, exact: Responses, cells: NDArray[np.int64]) -> None:
        """Add some edits of some cells.

        Cells differ in how far they move at all, which says nothing of how well the genes of a cell
        are ranked: from both sides the mean of the cell is taken off, where a cell has two edits or
        more.
        """
        for known, responses in ((self._estimates, estimates), (self._exact, exact)):
            known.append(_less_mean_of_cell(_columns(responses), cells))

    @property
    def names(self) -> list[str]:
        """What is estimated: ``"movement"``, and with two states or more ``"shift"``."""
        return ["movement", *(["shift"] if self.n_states > 1 else [])]

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """What was added, as columns of a table; without any, they are empty."""
        empty = np.empty((0, len(self.names)))
        sides = {"estimate": self._estimates, "exact": self._exact}
        joined = {side: np.concatenate([empty, *parts]) for side, parts in sides.items()}
        return {
            f"{side}_{name}": values[:, i]
            for side, values in joined.items() for i, name in enumerate(self.names)
        }  # fmt: skip

    def add_columns(self, columns: Mapping[str, NDArray[np.float64]]) -> None:
        """Add what another had as columns."""
        for side, known in (("estimate", self._estimates), ("exact", self._exact)):
            known.append(np.column_stack([columns[f"{side}_{name}"] for name in self.names]))

    def figures(self) -> dict[str, float]:
        """Rank correlations of estimates and exact values of a cell's edits.

        Returns
        -------
        ``"movement"``, of the logarithm of 1 - cosine; and with states ``"shift"``, of the shift
        towards the first state less that towards the second. NaN with fewer than three edits.
        """
        from scipy.stats import spearmanr

        if self.n_edits < 3:
            return dict.fromkeys(self.names, float("nan"))
        estimates, exact = (np.concatenate(each) for each in (self._estimates, self._exact))
        return {
            name: float(spearmanr(estimates[:, i], exact[:, i]).statistic)
            for i, name in enumerate(self.names)
        }

    def tell(self) -> None:
        """Log the figures."""
        if not self.n_edits:
            logger.info("There were so few perturbations that all were run exactly.")
            return
        logger.info(
            "How far the estimates can be trusted: within cells, their rank correlation with %s "
            "exact runs that were not used for them is %s.",
            f"{self.n_edits:,}",
            ", ".join(f"{value:.3f} ({name})" for name, value in self.figures().items()),
        )

    @property
    def n_edits(self) -> int:
        """How many edits were added."""
        return sum(map(len, self._exact))


def _columns(responses: Responses) -> NDArray[np.float64]:
    """(n_edits, 1 or 2): the logarithm of the movement, and with two states the shift between."""
    columns = [np.log(np.maximum(1 - responses.cosines, _LEAST))]
    if responses.shifts.shape[1] > 1:
        columns.append(responses.shifts[:, 0] - responses.shifts[:, 1])
    return np.column_stack(columns)


def _less_mean_of_cell(
    values: NDArray[np.float64], cells: NDArray[np.int64]
) -> NDArray[np.float64]:
    _, of_cell, counts = np.unique(cells, return_inverse=True, return_counts=True)
    if not len(counts) or counts.min() < 2:
        return values
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, of_cell, values)
    return np.asarray(values - (sums / counts[:, None])[of_cell])
