"""Cells that are kept out of training, to evaluate on."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import SettingsError

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
    """Hold out whole groups, such as donors, until they hold a share of the cells.

    Parameters
    ----------
    rows
        (n,) ascending.
    groups
        (n,) the group of each of these cells.
    share
        At least this share of the cells is held out, and at least one group.
    seed
        Decides the order in which groups are taken.

    Raises
    ------
    SettingsError
        If cells have no group, or nothing would be left to train on.
    """
    require_groups(groups, "--held-out-by")
    codes, names = pd.factorize(groups)
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = np.bincount(codes)[order].cumsum()
    n_groups = int(np.searchsorted(sizes, share * len(rows))) + 1
    if n_groups >= len(names):
        raise SettingsError(
            f"{groups.name} has {len(names)} group(s) ({', '.join(map(str, names[:5]))}), all of "
            f"which would be needed to hold out {share:.0%} of the cells.",
            "At least one group to train on.",
            "Lower held_out_share (--held-out-share), or name another column (--held-out-by).",
        )
    held = np.isin(codes, order[:n_groups])
    return rows[~held], rows[held]


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
