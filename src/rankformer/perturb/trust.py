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
        self._pairs: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self._cell: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def add(self, estimate: Responses, exact: Responses) -> None:
        """Add one edit of the present cell."""
        self._cell.append((_row(estimate), _row(exact)))

    def end_cell(self) -> None:
        """The next edits are of another cell."""
        self._pairs.extend(self._cell)
        self._cell = []

    def figures(self) -> dict[str, float]:
        """Rank correlations of estimates and exact values, over all cells.

        Returns
        -------
        ``"movement"``, of 1 - cosine; and with states ``"shift"``, of the shift towards the first
        state less that towards the second. NaN with fewer than three edits.
        """
        from scipy.stats import spearmanr

        pairs = [*self._pairs, *self._cell]
        names = ["movement", *(["shift"] if self.n_states > 1 else [])]
        if len(pairs) < 3:
            return dict.fromkeys(names, float("nan"))
        estimates, exact = (np.array(each) for each in zip(*pairs, strict=True))
        return {
            name: float(spearmanr(estimates[:, i], exact[:, i]).statistic)
            for i, name in enumerate(names)
        }

    @property
    def n_edits(self) -> int:
        return len(self._pairs) + len(self._cell)


def _row(responses: Responses) -> NDArray[np.float64]:
    movement = 1 - responses.cosines[0]
    if responses.shifts.shape[1] < 2:
        return np.array([movement])
    return np.array([movement, responses.shifts[0, 0] - responses.shifts[0, 1]])
