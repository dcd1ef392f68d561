"""Columns of obs as a page shows them: categories, numbers, and texts."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MISSING = 65_535
_MOST_CATEGORIES, _MOST_COLUMNS, _MOST_CHARACTERS = 100, 60, 1_000_000
# Whole numbers of fewer values than this are names, as of clusters.
_FEW_NUMBERS = 25


@dataclass(frozen=True, eq=False)
class ShownColumn:
    """A column of obs.

    Attributes
    ----------
    name
        Of the column.
    kind
        Cells are coloured by categories and by numbers; texts are only read.
    values
        (n_cells,): uint16 places among `categories`, `MISSING` where there is none; or, of numbers,
        float32.
    categories
        Names of the categories, or the different texts.
    """

    name: str
    kind: Literal["category", "number", "text"]
    values: NDArray[Any]
    categories: tuple[str, ...] = ()


def describe_columns(obs: pd.DataFrame) -> tuple[list[ShownColumn], list[str]]:
    """Make columns to show.

    Returns
    -------
    The columns, and the names of those for which there is no room: with too long texts, or after
    the sixtieth.
    """
    shown: list[ShownColumn] = []
    left_out: list[str] = []
    for name in map(str, dict.fromkeys(obs.columns)):
        column = obs[name]
        made = describe_column(name, column) if len(shown) < _MOST_COLUMNS else None
        if made is None:
            left_out.append(name)
        else:
            shown.append(made)
    return shown, left_out


def describe_column(name: str, column: "pd.Series[Any]") -> ShownColumn | None:
    """Make a column to show, or None where its texts are too long."""
    if isinstance(column, pd.DataFrame):
        return None
    if _is_number(column):
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float32, na_value=np.nan)
        return ShownColumn(name, "number", numbers)
    texts = column.astype(object).where(column.notna(), None).map(_as_text, na_action="ignore")
    order = _order_of(column, texts)
    codes = pd.Categorical(texts, categories=order).codes.astype(np.int64)
    if sum(map(len, order)) > _MOST_CHARACTERS or len(order) >= MISSING:
        return None
    kind: Literal["category", "text"] = "category" if len(order) <= _MOST_CATEGORIES else "text"
    values = np.where(codes < 0, MISSING, codes).astype(np.uint16)
    return ShownColumn(name, kind, values, tuple(order))


def _is_number(column: "pd.Series[Any]") -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_float_dtype(column):
        return True
    return pd.api.types.is_integer_dtype(column) and column.nunique() > _FEW_NUMBERS


def _order_of(column: "pd.Series[Any]", texts: "pd.Series[Any]") -> list[str]:
    """Categories in their own order; those without a cell are left out."""
    there = set(texts.dropna())
    if isinstance(column.dtype, pd.CategoricalDtype):
        own = dict.fromkeys(map(_as_text, column.cat.categories))
        return [each for each in own if each in there]
    return sorted(there, key=_natural)


def _as_text(value: object) -> str:
    return str(value)


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers by their size, before all other texts."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
