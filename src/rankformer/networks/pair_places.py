"""Pairs of genes beside pairs of like ranks in the same cell.

How strongly one gene acts on another depends first on where the two stand: a gene that is deleted
moves all behind it up by one, genes at the top are attended to by all. What is asked of a pair is
what it does beyond that. Of the pair (i, j) of ranks it is expected what genes of like rank show:

    expected(i, j) = mean of value(i, l) + value(k, j) - value(k, l) over k near i and l near j

which is free of whatever i does to all genes, and of whatever all genes do to j. It is the local
form of the average product correction that frees networks of coevolving residues of their
background (Dunn et al., Bioinformatics 24, 333, 2008), of logarithms. Near are genes on the same
side of the other one: behind it, or before it. What is left may still depend on how far apart two
genes stand: so the mean of pairs as far apart, at ranks near theirs, is taken off as well.
"""

import numpy as np
from numpy.typing import NDArray

from rankformer.compilation import compile_kernel

LEAST_NEIGHBOURS, SHARE_OF_NEIGHBOURS = 10, 16
_HALF = 0.5


def compare_pairs(
    values: NDArray[np.float64], ranks: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compare each pair of a cell with pairs of like ranks.

    Parameters
    ----------
    values
        (n_sources, n_targets): what the gene in a row does to the gene in a column.
    ranks
        (n_sources,) the columns of the genes in the rows, ascending.

    Returns
    -------
    Two arrays of the same shape: the *excess*, the value less the one expected; and its *place*
    among the excesses of the same source on targets of like rank, from 0 to 1: uniform for pairs
    like any other. NaN where a gene meets itself, or has no neighbour on that side.
    """
    n_sources, n_targets = _n_sides(values.shape)
    excess = _subtract_expected(
        np.ascontiguousarray(values, np.float64), ranks, n_sources, n_targets
    )
    excess = _subtract_equally_far(excess, ranks, n_sources)
    return excess, _place_in_rows(excess, ranks, n_targets)


def _n_sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many neighbours there are on each side, along sources and along targets."""
    n_sources, n_targets = (max(LEAST_NEIGHBOURS, n // SHARE_OF_NEIGHBOURS) for n in shape)
    return n_sources, n_targets


@compile_kernel
def _subtract_expected(
    values: NDArray[np.float64], ranks: NDArray[np.int64], n_rows: int, n_columns: int
) -> NDArray[np.float64]:
    n_sources, n_targets = values.shape
    sums = np.zeros((n_sources, n_targets + 1))
    for i in range(n_sources):
        for j in range(n_targets):
            sums[i, j + 1] = sums[i, j] + values[i, j]
    excess = np.full((n_sources, n_targets), np.nan)
    for i in range(n_sources):
        for j in range(n_targets):
            if ranks[i] == j:
                continue
            is_behind = j > ranks[i]
            left, right = _window_of_side(j, ranks[i], n_columns, n_targets)
            expected, n_seen = 0.0, 0
            for k in range(max(i - n_rows, 0), min(i + n_rows + 1, n_sources)):
                if k == i or ranks[k] == j or (j > ranks[k]) != is_behind:
                    continue
                # Targets on that side of k, too.
                first = max(left, ranks[k] + 1) if is_behind else left
                last = right if is_behind else min(right, ranks[k])
                n_others = last - first - 1
                own = sums[i, last] - sums[i, first] - values[i, j]
                theirs = sums[k, last] - sums[k, first] - values[k, j]
                expected += own - theirs + n_others * values[k, j]
                n_seen += n_others
            if n_seen > 0:
                excess[i, j] = values[i, j] - expected / n_seen
    return excess


@compile_kernel
def _subtract_equally_far(
    excess: NDArray[np.float64], ranks: NDArray[np.int64], n_rows: int
) -> NDArray[np.float64]:
    n_sources, n_targets = excess.shape
    beyond = excess.copy()
    for i in range(n_sources):
        for j in range(n_targets):
            total, n_seen = 0.0, 0
            for k in range(max(i - n_rows, 0), min(i + n_rows + 1, n_sources)):
                target = ranks[k] + j - ranks[i]
                if k == i or target < 0 or target >= n_targets or np.isnan(excess[k, target]):
                    continue
                total += excess[k, target]
                n_seen += 1
            if n_seen > 0:
                beyond[i, j] -= total / n_seen
    return beyond


@compile_kernel
def _window_of_side(j: int, source: int, n_most: int, n_targets: int) -> tuple[int, int]:
    """Targets near j on its side of the source, as many as there can be: first, and behind last."""
    low, high = (source + 1, n_targets) if j > source else (0, source)
    width = min(2 * n_most + 1, high - low)
    left = min(max(j - n_most, low), high - width)
    return left, left + width


@compile_kernel
def _place_in_rows(
    excess: NDArray[np.float64], ranks: NDArray[np.int64], n_columns: int
) -> NDArray[np.float64]:
    n_sources, n_targets = excess.shape
    place = np.full((n_sources, n_targets), np.nan)
    for i in range(n_sources):
        for j in range(n_targets):
            own = excess[i, j]
            if np.isnan(own):
                continue
            left, right = _window_of_side(j, ranks[i], n_columns, n_targets)
            below, n_seen = _HALF, 1
            for k in range(left, right):
                other = excess[i, k]
                if k == j or np.isnan(other):
                    continue
                n_seen += 1
                if other < own:
                    below += 1
                elif other == own:
                    below += _HALF
            place[i, j] = below / n_seen
    return place


@compile_kernel
def add_pairs(
    values: NDArray[np.float64],
    excess: NDArray[np.float64],
    place: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    counts: NDArray[np.int32],
    sums: NDArray[np.float64],
) -> None:
    """Add a cell's pairs to sums over cells.

    Parameters
    ----------
    values, excess, place
        (n_sources, n_targets) of the cell.
    rows, columns
        Where the genes stand in the sums; -1 leaves one out.
    counts
        (n_genes, n_genes), of cells that have a pair.
    sums
        (4, n_genes, n_genes): of values, their squares, excesses and places.
    """
    for i in range(len(rows)):
        if rows[i] < 0:
            continue
        for j in range(len(columns)):
            if columns[j] < 0 or np.isnan(place[i, j]):
                continue
            counts[rows[i], columns[j]] += 1
            sums[0, rows[i], columns[j]] += values[i, j]
            sums[1, rows[i], columns[j]] += values[i, j] ** 2
            sums[2, rows[i], columns[j]] += excess[i, j]
            sums[3, rows[i], columns[j]] += place[i, j]
