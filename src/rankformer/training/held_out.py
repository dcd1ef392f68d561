"""Cells that are kept out of training, to evaluate on."""

import logging
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import SettingsError

logger = logging.getLogger(__name__)
_ORDERS_TRIED = 500
_MOST_OF_SHARE = 3
Split = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ascending rows of the cells to train on, and of those held out."""


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
