"""Which units are trained on, which decide when to stop, and which are only tested on.

Cells of one donor are alike in more than their kind, so a model that has seen a donor looks better
on its other cells than it is: whole groups are held apart where they are named.
"""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.training.held_out import require_groups
from rankformer.training.split_plan import SplitPlan

logger = logging.getLogger(__name__)
# Groups that make a part larger than so many times what was asked for are left to be trained on.
_TOO_MUCH = 1.5
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class PartSplit:
    """Ascending positions of the units of each part, int64.

    Attributes
    ----------
    train
        Trained on.
    validation
        Decides which checkpoint is kept, when to stop, and the temperature.
    test
        Only measured on; may be empty.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def split_units(
    classes: NDArray[np.object_],
    groups: "pd.Series[Any] | None",
    plan: SplitPlan,
) -> Iterator[PartSplit]:
    """Split units, once or into folds.

    Parameters
    ----------
    classes
        (n,) what each part should have its share of; one value throughout for numbers.
    groups
        (n,) donors or the like, which are never torn.
    plan
        Shares and folds.

    Yields
    ------
    One split, or one a fold.

    Raises
    ------
    SettingsError
        If there are too few units, or groups, to do so.
    """
    codes = _group_codes(groups)
    units = np.arange(len(classes))
    if plan.n_folds is not None:
        for rest, test in _folds(units, classes, codes, plan.n_folds, plan.seed):
            train, validation = _validate(rest, classes, codes, plan.validation_share, plan.seed)
            yield PartSplit(train, validation, test)
        return
    rest, test = _part(units, classes, codes, plan.test_share, plan.seed)
    share = plan.validation_share / (1 - plan.test_share)
    train, validation = _validate(rest, classes, codes, share, plan.seed + 1)
    yield PartSplit(train, validation, test)


def _group_codes(groups: "pd.Series[Any] | None") -> NDArray[np.int64] | None:
    if groups is None:
        return None
    require_groups(groups, "--group")
    return pd.factorize(groups)[0].astype(np.int64)


Pair = tuple[NDArray[np.int64], NDArray[np.int64]]


def _validate(
    units: NDArray[np.int64],
    classes: NDArray[np.object_],
    groups: NDArray[np.int64] | None,
    share: float,
    seed: int,
) -> Pair:
    """As `_part`; of a single group a part is taken all the same, as it is not what is tested."""
    if groups is not None and len(np.unique(groups[units])) == 1:
        logger.warning(
            "One group is left to train on, so what is validated on is of it too: probabilities "
            "may be too high for other groups."
        )
        groups = None
    return _part(units, classes, groups, share, seed)


def _part(
    units: NDArray[np.int64],
    classes: NDArray[np.object_],
    groups: NDArray[np.int64] | None,
    share: float,
    seed: int,
) -> Pair:
    """What is left, and a part of about a share of the units."""
    if not share:
        return units, units[:0]
    if groups is None:
        return _stratified_part(units, classes, share, seed)
    return _grouped_part(units, groups, share, seed)


def _grouped_part(
    units: NDArray[np.int64], groups: NDArray[np.int64], share: float, seed: int
) -> Pair:
    """Groups in a random order until the share is there, without those that would be far too much.

    Where all are, one is taken that is not much larger than the smallest.
    """
    names, own, sizes = np.unique(groups[units], return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise SettingsError(
            f"All {len(units):,} labelled units are of one group.",
            "At least two groups, so that one can be tested that was not trained on.",
            "Name a column with more groups (--group), or leave it out.",
        )
    wanted, taken = share * len(units), np.zeros(len(names), bool)
    order = np.random.default_rng(seed).permutation(len(names))
    for group in order:
        if sizes[taken].sum() < wanted and sizes[taken].sum() + sizes[group] <= _TOO_MUCH * wanted:
            taken[group] = True
    if not taken.any():
        small = order[sizes[order] <= _TOO_MUCH * sizes.min()]
        taken[small[0]] = True
    return units[~taken[own]], units[taken[own]]


def _stratified_part(
    units: NDArray[np.int64], classes: NDArray[np.object_], share: float, seed: int
) -> Pair:
    """A share of each class, at least one of it where it has two."""
    rng = np.random.default_rng(seed)
    held: list[NDArray[np.int64]] = []
    for _, own in pd.Series(units).groupby(classes[units].astype(str)):
        n_held = min(max(round(share * len(own)), 1), len(own) - 1)
        held.append(rng.permutation(own.to_numpy())[:n_held])
    part = np.sort(np.concatenate(held))
    rest = np.setdiff1d(units, part)
    if not len(part) or not len(rest):
        raise SettingsError(
            f"There are {len(units):,} labelled units, which cannot be split.",
            "At least two of one class.",
            "Pass more cells, or name another label.",
        )
    return rest, part


def _folds(
    units: NDArray[np.int64],
    classes: NDArray[np.object_],
    groups: NDArray[np.int64] | None,
    n_folds: int,
    seed: int,
) -> Iterator[Pair]:
    own = classes[units].astype(str)
    n_available = len(units) if groups is None else len(np.unique(groups[units]))
    if n_available < n_folds:
        what = "labelled units" if groups is None else "groups"
        raise SettingsError(
            f"There are {n_available} {what} to make {n_folds} folds of.",
            "At least one for each fold.",
            "Lower n_folds (--folds)"
            + ("." if groups is None else ", or name a column with more groups (--group)."),
        )
    found = draw_stratified_folds(
        own, None if groups is None else groups[units], n_folds=n_folds, seed=seed
    )
    if len(found) < n_folds:
        logger.warning(
            "%s folds were asked for, and %s are made: the groups are too unlike in size for more.",
            n_folds, len(found),
        )  # fmt: skip
    for rest, part in found:
        yield units[rest], units[part]


def draw_stratified_folds(
    classes: NDArray[Any], groups: NDArray[Any] | None, *, n_folds: int, seed: int
) -> list[Pair]:
    """Folds with classes in like shares; groups are never torn, and no fold is empty.

    Parameters
    ----------
    classes
        (n,) of any type. Where none has a member for each fold there is nothing to stratify by.
    groups
        (n,) of any type, or None.
    n_folds, seed
        How many, at most as many as units or groups, and how they are drawn. Of groups that are
        unlike in size there may be fewer.

    Returns
    -------
    For each fold the ascending positions of the others, and of its own; int64.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if pd.Series(classes).value_counts().iloc[0] < n_folds:
        classes = np.zeros(len(classes), np.int64)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter: Any = kind(n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of classes with fewer members than folds, some folds have none.
        warnings.filterwarnings("ignore", message="The least populated class")
        found = list(splitter.split(np.zeros(len(classes)), classes, groups))
    return [(rest, part) for rest, part in found if len(part)]
