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
from rankformer.training.split_plan import SplitPlan

logger = logging.getLogger(__name__)
# Groups that make a part larger than so many times what was asked for are left to be trained on.
_TOO_MUCH = 1.5
PARTS = ("train", "validation", "test")
_ORDERS_TRIED = 500
_MOST_OF_SHARE = 3
Split = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ascending rows of the cells to train on, and of those held out."""


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


def _validate(
    units: NDArray[np.int64],
    classes: NDArray[np.object_],
    groups: NDArray[np.int64] | None,
    share: float,
    seed: int,
) -> Split:
    """As `_part`; of a single group a part is taken all the same, as it is not what is tested."""
    if groups is not None and len(np.unique(groups[units])) == 1:
        logger.warning(
            "Only one group is left to train on, so the validation cells are of that group too: "
            "predicted probabilities may be too high for cells of other groups."
        )
        groups = None
    return _part(units, classes, groups, share, seed)


def _part(
    units: NDArray[np.int64],
    classes: NDArray[np.object_],
    groups: NDArray[np.int64] | None,
    share: float,
    seed: int,
) -> Split:
    """What is left, and a part of about a share of the units."""
    if not share:
        return units, units[:0]
    if groups is None:
        return _stratified_part(units, classes, share, seed)
    return _grouped_part(units, groups, share, seed)


def _grouped_part(
    units: NDArray[np.int64], groups: NDArray[np.int64], share: float, seed: int
) -> Split:
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
) -> Split:
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
) -> Iterator[Split]:
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
            "%s folds were asked for, and %s are made: the groups differ too much in size for "
            "more.",
            n_folds, len(found),
        )  # fmt: skip
    for rest, part in found:
        yield units[rest], units[part]


def draw_stratified_folds(
    classes: NDArray[Any], groups: NDArray[Any] | None, *, n_folds: int, seed: int
) -> list[Split]:
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


def hold_out_cells(rows: NDArray[np.int64], share: float, seed: int) -> Split:
    """Hold out a share of the cells, drawn at random.

    Parameters
    ----------
    rows
        (n,) ascending.
    share
        0 to 1; at least one cell where it is not 0.
    seed
        Decides which.
    """
    n_held = min(max(round(share * len(rows)), int(share > 0)), len(rows) - 1)
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def hold_out_groups(rows: NDArray[np.int64], groups: pd.Series, share: float, seed: int) -> Split:
    """Hold out whole groups, such as donors, with as nearly a share of the cells as they allow.

    Parameters
    ----------
    rows
        (n,) ascending.
    groups
        (n,) the group of each of these cells.
    share
        Of the cells, 0 to 1. At least one group is held out, and at least one is not.
    seed
        Decides which groups, of those that come near enough.

    Raises
    ------
    SettingsError
        If cells have no group, nothing would be left to train on, or the groups are so large that
        more than thrice the share would be held out.
    """
    require_groups(groups, "--held-out-by")
    codes, names = pd.factorize(groups)
    if len(names) < 2:
        raise SettingsError(
            f"{groups.name} has {len(names)} group(s) ({', '.join(map(str, names[:5]))}).",
            "At least two groups: one to hold out, one to train on.",
            "Name another column (--held-out-by), or leave it out: cells are then drawn singly, "
            "so many as held_out_share (--held-out-share) says.",
        )
    sizes = np.bincount(codes)
    chosen = _choose_groups(sizes, share * len(rows), np.random.default_rng(seed))
    held = np.isin(codes, chosen)
    _tell_share(str(groups.name), len(chosen), len(names), float(held.mean()), share)
    return rows[~held], rows[held]


def _choose_groups(
    sizes: NDArray[np.int64], target: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Groups whose sizes add up to nearly `target`, taken in a random order.

    Orders are tried until one comes within a tenth; else the nearest of them is taken.
    """
    nearest, chosen = np.inf, np.array([int(sizes.argmin())])
    for _ in range(_ORDERS_TRIED):
        taken: list[int] = []
        total = 0
        for group in rng.permutation(len(sizes)).tolist():
            with_it = total + int(sizes[group])
            if abs(with_it - target) < abs(total - target) and len(taken) < len(sizes) - 1:
                taken.append(group)
                total = with_it
        if taken and abs(total - target) < nearest:
            nearest, chosen = abs(total - target), np.array(taken)
        if nearest <= target / 10:
            break
    return chosen


def _tell_share(name: str, n_held: int, n_groups: int, found: float, share: float) -> None:
    said = (
        f"{n_held:,} of {n_groups:,} groups of {name} are held out, with {found:.1%} of the cells"
    )
    if found > _MOST_OF_SHARE * share:
        raise SettingsError(
            f"If {said}, and {share:.1%} were asked for.",
            f"At most {_MOST_OF_SHARE} times the share that was asked for.",
            f"The groups allow no less: pass held_out_share={found:.3g} (--held-out-share) to hold "
            "out so many, or name another column (--held-out-by).",
        )
    near = abs(found - share) <= share / 4
    logger.log(
        logging.INFO if near else logging.WARNING, "%s; %.1f %% were asked for.", said, 100 * share
    )


def require_groups(groups: "pd.Series[Any]", option: str) -> None:
    """Refuse cells without a group, which could be both trained on and held out.

    Parameters
    ----------
    groups
        (n,) the group of each cell, named after its column.
    option
        The command line's, that names the column.

    Raises
    ------
    SettingsError
        If one is missing.
    """
    if groups.isna().any():
        raise SettingsError(
            f"{int(groups.isna().sum()):,} of {len(groups):,} cells have no {groups.name}.",
            "A group for each cell, so that none is both trained on and held out.",
            f"Fill the column, or name another one ({option}).",
        )
