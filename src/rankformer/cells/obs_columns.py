"""Columns of obs and other tables: whether they are there, and the names of classes in them."""

import logging
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
