"""How far estimates of a screen can be trusted: beside exact runs that took no part in them."""

import numpy as np
from numpy.typing import NDArray

from rankformer.perturb.exact import Responses


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

    def add(self, estimates: Responses, exact: Responses) -> None:
        """Add some edits."""
        self._estimates.append(_columns(estimates))
        self._exact.append(_columns(exact))

    def figures(self) -> dict[str, float]:
        """Rank correlations of estimates and exact values, over all cells.

        Returns
        -------
        ``"movement"``, of 1 - cosine; and with states ``"shift"``, of the shift towards the first
        state less that towards the second. NaN with fewer than three edits.
        """
        from scipy.stats import spearmanr

        names = ["movement", *(["shift"] if self.n_states > 1 else [])]
        if self.n_edits < 3:
            return dict.fromkeys(names, float("nan"))
        estimates, exact = (np.concatenate(each) for each in (self._estimates, self._exact))
        return {
            name: float(spearmanr(estimates[:, i], exact[:, i]).statistic)
            for i, name in enumerate(names)
        }

    @property
    def n_edits(self) -> int:
        return sum(map(len, self._exact))


def _columns(responses: Responses) -> NDArray[np.float64]:
    """(n_edits, 1 or 2): the movement, and with two states the shift between them."""
    columns = [1 - responses.cosines]
    if responses.shifts.shape[1] > 1:
        columns.append(responses.shifts[:, 0] - responses.shifts[:, 1])
    return np.column_stack(columns)
