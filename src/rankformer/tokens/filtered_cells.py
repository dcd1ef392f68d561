"""Cells that a column of obs marks as those to leave out, as the published tokenizer has it."""

import logging

import numpy as np
from numpy.typing import NDArray

from rankformer.cells.source import CellSource
from rankformer.errors import SettingsError
from rankformer.printable import printable

logger = logging.getLogger(__name__)

FILTER_COLUMN = "filter_pass"
FILTERED = f"{FILTER_COLUMN} is 0"


def kept_cells(cells: CellSource) -> NDArray[np.bool_]:
    """(n_cells,) whether a cell is not marked as one to leave out."""
    if FILTER_COLUMN not in cells.obs:
        return np.ones(len(cells.obs), bool)
    return np.asarray(cells.obs[FILTER_COLUMN].astype(float) == 1)


def check_filter(cells: CellSource) -> None:
    """Refuse marks that are no numbers, or that leave no cell; say how many are left.

    Raises
    ------
    SettingsError
        If they are.
    """
    if FILTER_COLUMN not in cells.obs:
        return
    name = f'obs["{FILTER_COLUMN}"] of {cells.name}'
    expected = "1 for cells to keep, 0 for cells to leave out."
    fix = "Correct the column, or rename it so that all cells are kept."
    column = cells.obs[FILTER_COLUMN]
    try:
        n_kept = int((column.astype(float) == 1).sum())
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{name} holds {column.iloc[0]!r}.", expected, fix) from error
    if not n_kept:
        raise SettingsError(f"{name} keeps none of {len(column):,} cells.", expected, fix)
    if n_kept < len(column):
        logger.info("%s keeps %s of %s cells.", printable(name), f"{n_kept:,}", f"{len(column):,}")
