"""Effects of genes on each other, summed over cells, and what of them is more than chance."""

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.networks.pair_effects import CellPairs
from rankformer.networks.pair_places import add_pairs, compare_pairs

# Sums, the correlation beside them and what is made of both: measured with 4,249 genes.
BYTES_A_PAIR = 180
_LEVEL = 0.95


class PairSums:
    """Sums over cells of what genes do to each other.

    Parameters
    ----------
    n_genes
        The genes of the network, of which a cell may have others besides.
    acting
        (n_acting,) int64: those of them that act.

    Attributes
    ----------
    row_of
        Gene → its place among those that act; -1 where it does not.
    """

    def __init__(self, n_genes: int, acting: NDArray[np.int64]) -> None:
        self.acting = acting
        # One more, for genes that are not of the network.
        self.row_of = np.full(n_genes + 1, -1)
        self.row_of[acting] = np.arange(len(acting))
        self.counts = np.zeros((len(acting), n_genes), np.int32)
        self.sums = np.zeros((4, len(acting), n_genes))

    def add(self, pairs: CellPairs, places: NDArray[np.int64]) -> None:
        """Add a cell.

        Parameters
        ----------
        pairs
            Its pairs.
        places
            (n_genes of the cell,) where its genes stand in the network, by rank; -1 for others.
        """
        excess, place = compare_pairs(pairs.compared, pairs.ranks)
        rows = self.row_of[places[pairs.ranks]]
        add_pairs(pairs.effects, excess, place, rows, places, self.counts, self.sums)

    def summarise(self, min_cells: int, *, is_directed: bool) -> "PairTable":
        """Pairs that at least so many cells have.

        Of what has no direction each pair is there once, and all genes have to act; its place is
        the mean of both ways to see it, which makes the test careful.
        """
        counts, (values, squares, excess, place) = self.counts, self.sums
        if not is_directed:
            above = np.triu(np.ones_like(counts, bool), 1)
            excess, place = (np.where(above, (each + each.T) / 2, 0) for each in (excess, place))
            counts = np.where(above, np.minimum(counts, counts.T), 0)
        sources, targets = np.nonzero(counts >= min_cells)
        n = counts[sources, targets]
        values, squares, excess, place = (
            each[sources, targets] / n for each in (values, squares, excess, place)
        )
        deviation = np.sqrt(np.maximum(squares - values**2, 0) * n / np.maximum(n - 1, 1))
        return PairTable(self.acting[sources], targets, n, values, deviation, excess, place)


@dataclass(frozen=True, eq=False)
class PairTable:
    """Pairs of genes; all arrays are (n_pairs,).

    Attributes
    ----------
    sources, targets
        Genes of the network.
    n_cells
        Cells that have both.
    effect, deviation
        Mean and standard deviation over cells.
    excess, place
        Means of `compare_pairs`.
    """

    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    n_cells: NDArray[np.int32]
    effect: NDArray[np.float64]
    deviation: NDArray[np.float64]
    excess: NDArray[np.float64]
    place: NDArray[np.float64]

    def select(self, chosen: NDArray[np.bool_]) -> "PairTable":
        """Some of the pairs."""
        return PairTable(*(getattr(self, each.name)[chosen] for each in fields(self)))

    def test(self) -> pd.DataFrame:
        """Which pairs do more than those of like ranks would.

        Returns
        -------
        Columns ``source`` and ``target``, genes of the network; ``n_cells``; ``effect`` with the
        95 % interval of its mean over cells, ``low`` and ``high`` (Student's t); ``excess`` and
        ``place``; ``p_value``, of the mean place above 1/2, where each cell's is uniform with the
        variance 1/12; and ``q_value`` (Benjamini-Hochberg). The most certain pair is first, and of
        equally certain ones that of larger excess.
        """
        from scipy.stats import false_discovery_control, norm, t

        n = self.n_cells.astype(np.float64)
        half = t.ppf((1 + _LEVEL) / 2, np.maximum(n - 1, 1)) * self.deviation / np.sqrt(n)
        half[n < 2] = np.nan
        p_values = norm.sf((self.place - 0.5) * np.sqrt(12 * n))
        table = pd.DataFrame({
            "source": self.sources, "target": self.targets, "n_cells": self.n_cells,
            "effect": self.effect, "low": self.effect - half, "high": self.effect + half,
            "excess": self.excess, "place": self.place, "p_value": p_values,
            "q_value": false_discovery_control(p_values) if len(p_values) else p_values,
        })  # fmt: skip
        order = np.lexsort((-self.excess, p_values))
        return table.iloc[order].reset_index(drop=True)
