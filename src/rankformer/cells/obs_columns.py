"""Columns of obs and other tables: whether they are there, and the names of classes in them."""

import logging
import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.names import class_name

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)
_FIX = "Name another column (--label); finetune learns numbers as such (--regress)."
_MOST_OF_FEW_CELLS, _MOST_NUMBERS, _MOST_CLUSTERS = 20, 100, 1000
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_SAYS_NO_LABEL = frozenset(("unassigned", "unlabelled", "unlabeled", "n/a", "na", "nan", "none"))


def read_class_names(
    column: "pd.Series[Any]", where: str, *, fix: str = _FIX
) -> NDArray[np.object_]:
    """Names of classes as text.

    Parameters
    ----------
    column
        Of any type. Whole numbers are written without a point: a missing value makes floats of a
        column of integers.
    where, fix
        What a message calls the column, and what it says to do.

    Returns
    -------
    (n,) object: texts, None where a value is missing.

    Raises
    ------
    SettingsError
        If it holds numbers that are not whole.
    """
    names = np.full(len(column), None, dtype=object)
    known = column.notna().to_numpy()
    try:
        names[known] = [class_name(value) for value in column[known]]
    except ValueError as error:
        raise SettingsError(
            f"{where} holds numbers such as {error}.",
            "Labels: names of classes, or whole numbers that stand for them.",
            fix,
        ) from error
    return names


def expect_classes(names: NDArray[np.object_], where: str, fix: str) -> None:
    """Refuse labels that are none: texts of single cells, such as barcodes, and measured numbers.

    Numbers of clusters are few, or at most a thousand that follow one another; counts are not.

    Parameters
    ----------
    names
        (n,) as `read_class_names` gives them.
    where, fix
        What a message calls them, and what it says to do.

    Raises
    ------
    SettingsError
        If hardly one of them is there twice, or they are counts.
    """
    known = [each for each in names.tolist() if each is not None]
    classes = set(known)
    is_of_cells = len(classes) > max(len(known) / 2, _MOST_OF_FEW_CELLS)
    if is_of_cells or _are_measured(classes):
        raise SettingsError(
            f"{where} holds {len(classes):,} different values in {len(known):,} cells, such as "
            f"{', '.join(sorted(classes)[:3])}.",
            "Labels: each is the name of many cells, as a cell type or the number of a cluster is.",
            fix,
        )


def _are_measured(classes: set[str]) -> bool:
    if len(classes) <= _MOST_NUMBERS or not all(map(_WHOLE.fullmatch, classes)):
        return False
    numbers = [int(each) for each in classes]
    has_gaps = max(numbers) - min(numbers) + 1 >= 2 * len(classes)
    return has_gaps or len(classes) > _MOST_CLUSTERS


def leave_out(names: NDArray[np.object_], none: Iterable[object], where: str) -> None:
    """Put None in the place of names that are no class, such as ``unassigned``; in place.

    One that is not there is told: it may be misspelt.
    """
    tell_unmatched(names, none, where)
    names[np.isin(names.astype(str), [str(each) for each in none])] = None
    _tell_doubtful(names, where)


def names_of_no_label(names: NDArray[np.object_]) -> list[str]:
    """Those of some names that say that a cell has no label, such as ``unassigned``."""
    return sorted({each for each in names.tolist() if _is_doubtful(each)})


def _tell_doubtful(names: NDArray[np.object_], where: str) -> None:
    """Warn of a class whose name says that the cells have none."""
    for name in names_of_no_label(names):
        logger.warning(
            "%s has a class %s, which is treated as a label like any other. If these cells have no "
            "label, say so with unlabelled=[%r] (--unlabelled %s).",
            where, name, name, shlex.quote(name),
        )  # fmt: skip


def _is_doubtful(name: str | None) -> bool:
    return name is not None and name.strip().lower() in _SAYS_NO_LABEL


def tell_unmatched(names: NDArray[np.object_], none: Iterable[object], where: str) -> None:
    """Warn of names that were said to be no class, and are not there."""
    absent = sorted({str(each) for each in none} - set(names.tolist()))
    if absent:
        logger.warning(
            "%s has no %s, which was said to be no label.", where, " and no ".join(absent)
        )


def require_column(table: "pd.DataFrame", name: str, option: str, what: str = "obs") -> None:
    """Refuse a column that is not there.

    Raises
    ------
    SettingsError
        If it is not.
    """
    if name not in table:
        raise SettingsError(
            f"{what} has no column {name!r}.",
            f"One of {', '.join(map(str, table.columns)) or '(none)'}.",
            f"Correct {option}.",
        )
