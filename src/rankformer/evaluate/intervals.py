"""How sure a figure is: intervals by bootstrap over donors, or over cells where none are named."""

from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

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
    say less than as many cells of several donors. Without groups cells are drawn, of each class as
    many as there are.

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
    The lower and the upper bound. Classes of which no drawn group has a cell are left out.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        units, weights, shares = _draw_cells(codes, predicted, rng)
    else:
        units, weights, shares = _draw_groups(groups, rng)
    count = partial(_count_classes, weights, units, shares, int(codes.max()) + 1)
    n_true = count(codes)
    figures = [_macro_f1(count(codes, each == codes), n_true, count(each)) for each in predicted]
    low, high = np.quantile(np.mean(figures, axis=0), _BOUNDS)
    return float(low), float(high)


_Drawn: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""Of each cell the unit that it is drawn with; (n_draws, n_units) how often each is drawn; and of
each cell what it counts for each time."""


def _draw_groups(groups: NDArray[np.object_], rng: np.random.Generator) -> _Drawn:
    names, units = np.unique(groups.astype(str), return_inverse=True)
    chances = np.full(len(names), 1 / len(names))
    weights = rng.multinomial(len(names), chances, size=_N_DRAWS)
    return units.reshape(-1), weights.astype(float), np.ones(len(groups))


def _draw_cells(
    codes: NDArray[np.int64], predicted: Sequence[NDArray[np.int64]], rng: np.random.Generator
) -> _Drawn:
    """Cells of the same classes throughout are one unit, from which single cells are drawn."""
    rows = np.stack([codes, *predicted], axis=1)
    kinds, units, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    weights = np.empty((_N_DRAWS, len(kinds)))
    for code in np.unique(codes):
        own = kinds[:, 0] == code
        n_cells = counts[own].sum()
        weights[:, own] = rng.multinomial(n_cells, counts[own] / n_cells, size=_N_DRAWS)
    units = units.reshape(-1)
    return units, weights, 1 / counts[units]


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
