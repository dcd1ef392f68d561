"""How sure a figure is: intervals by bootstrap over donors, or over cells where none are named."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

_N_DRAWS = 1_000
_BOUNDS = (0.025, 0.975)


def macro_f1_interval(
    codes: NDArray[np.int64],
    predicted: Sequence[NDArray[np.int64]],
    groups: NDArray[np.object_] | None = None,
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % interval of macro-F1, by bootstrap (Efron, Annals of Statistics 7:1, 1979).

    Groups are drawn with replacement, each with all its cells: cells of one donor are alike, and
    say less than as many cells of several donors. Without groups cells are drawn.

    Parameters
    ----------
    codes
        (n_cells,) each cell's class.
    predicted
        For each draw of the folds (n_cells,) the class predicted. The figure is the mean over them.
    groups
        (n_cells,) each cell's group, or None.
    seed
        Of what is drawn.

    Returns
    -------
    The lower and the upper bound. Classes of which a draw has no cell are left out of its mean.
    """
    units, counts = _units(codes, predicted, groups)
    n_drawn = len(codes) if groups is None else len(counts)
    chances = counts / n_drawn if groups is None else np.full(n_drawn, 1 / n_drawn)
    weights = np.random.default_rng(seed).multinomial(n_drawn, chances, size=_N_DRAWS)
    # What a unit counts for each time that it is drawn: one cell, or all cells of a group.
    shares = (1 / counts if groups is None else np.ones(len(counts)))[units]
    count = partial(_count_classes, weights.astype(float), units, shares, int(codes.max()) + 1)
    n_true = count(codes)
    figures = [_macro_f1(count(codes, each == codes), n_true, count(each)) for each in predicted]
    low, high = np.quantile(np.mean(figures, axis=0), _BOUNDS)
    return float(low), float(high)


def _units(
    codes: NDArray[np.int64],
    predicted: Sequence[NDArray[np.int64]],
    groups: NDArray[np.object_] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The unit of each cell that is drawn as a whole, and cells of each unit.

    Without groups these are the cells; those of the same classes throughout are counted as one.
    """
    if groups is None:
        rows = np.stack([codes, *predicted], axis=1)
        _, units, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    else:
        _, units, counts = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    return units.reshape(-1), counts


def _count_classes(
    weights: NDArray[np.float64],
    units: NDArray[np.int64],
    shares: NDArray[np.float64],
    n_classes: int,
    classes: NDArray[np.int64],
    counts: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """(n_draws, n_classes) cells of each class in each draw; all of them, or those that count."""
    counts = np.ones(len(classes), bool) if counts is None else counts
    of_units = np.zeros((weights.shape[1], n_classes))
    np.add.at(of_units, (units[counts], classes[counts]), shares[counts])
    return weights @ of_units


def _macro_f1(
    right: NDArray[np.float64], n_true: NDArray[np.float64], n_said: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n_draws,) mean F1 of the classes that a draw has; each given is (n_draws, n_classes)."""
    f1 = 2 * right / np.maximum(n_true + n_said, 1)
    is_there = n_true > 0.5
    return np.asarray((f1 * is_there).sum(axis=1) / np.maximum(is_there.sum(axis=1), 1))
