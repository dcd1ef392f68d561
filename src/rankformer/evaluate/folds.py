"""Which cells are trained on and which are tested: by whole groups, or by cells."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.training.splits import draw_stratified_folds

logger = logging.getLogger(__name__)

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ascending rows of the cells to train on, and of those to test."""


@dataclass(frozen=True, eq=False)
class Folds:
    """Ways to cut cells into folds.

    Attributes
    ----------
    draws
        One for each seed: its folds, in which each cell is tested once.
    names
        For each draw the names of its folds: of the group, where a fold is one, or a number.
    """

    draws: tuple[tuple[Fold, ...], ...]
    names: tuple[tuple[str, ...], ...]

    @property
    def n_folds(self) -> int:
        return len(self.draws[0])


def draw_folds(
    codes: NDArray[np.int64],
    groups: NDArray[np.object_] | None,
    *,
    n_folds: int,
    n_seeds: int,
    label: str = "label",
) -> Folds:
    """Cut cells into folds, with the classes in like shares, once for each seed.

    With groups by `sklearn.model_selection.StratifiedGroupKFold`, and with as many folds as groups
    at most; where each group is a fold there is nothing to draw, and one draw is made. Without
    groups by `StratifiedKFold`, and it is said what may leak.

    Parameters
    ----------
    codes
        (n_cells,) each cell's class.
    groups
        (n_cells,) each cell's group, or None.
    n_folds, n_seeds
        At least 2, and at least 1.
    label
        The name that a message has for the classes.

    Raises
    ------
    SettingsError
        If there are fewer cells than folds, one group, or no class with two cells.
    """
    _check(codes, groups, n_folds, n_seeds)
    if groups is None:
        logger.warning(
            "No group was given: cells of one donor or batch lie in training and in test. The "
            "figures say how well %s is learned within these, not how well on a new one.", label,
        )  # fmt: skip
    elif len(set(groups)) <= n_folds:
        names = tuple(sorted(set(groups)))
        rows = np.arange(len(codes))
        folds = tuple((rows[groups != each], rows[groups == each]) for each in names)
        return Folds((folds,), (names,))
    draws = [
        tuple(draw_stratified_folds(codes, groups, n_folds=n_folds, seed=seed))
        for seed in range(n_seeds)
    ]
    names = tuple(_numbers(each) for each in draws)
    return Folds(tuple(draws), names)


def _numbers(folds: tuple[Fold, ...]) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, len(folds) + 1))


def _check(
    codes: NDArray[np.int64], groups: NDArray[np.object_] | None, n_folds: int, n_seeds: int
) -> None:
    if n_folds < 2 or n_seeds < 1:
        raise SettingsError(
            f"{n_folds} fold(s) and {n_seeds} seed(s) were asked for.",
            "At least 2 folds and 1 seed.",
            "Leave out --folds and --seeds to have 5 of each.",
        )
    if groups is not None and len(set(groups)) < 2:
        raise SettingsError(
            f"All {len(codes):,} cells are of one group ({groups[0]}).",
            "At least two groups, so that one can be tested that was not trained on.",
            "Name another column (--group), or leave it out.",
        )
    largest = int(np.bincount(codes).max())
    if groups is None and (len(codes) < n_folds or largest < n_folds):
        raise SettingsError(
            f"{len(codes):,} cells are to be cut into {n_folds} folds, and the largest class has "
            f"{largest:,}.",
            "At least as many cells of one class as folds.",
            "Lower n_folds (--folds), or evaluate more cells.",
        )
