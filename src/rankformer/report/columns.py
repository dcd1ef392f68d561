"""Columns of obs as a page shows them: categories, numbers, and texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.show.cell_values import categories_of

MISSING = 65_535
_MOST_CATEGORIES, _MOST_COLUMNS, _MOST_CHARACTERS = 100, 60, 1_000_000
# Of all columns together, as text of the page.
_MOST_BYTES = 2_500_000
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


def describe_columns(
    obs: pd.DataFrame, named: Sequence[str] = ()
) -> tuple[list[ShownColumn], list[str]]:
    """Make columns to show, as many as there is room for.

    Parameters
    ----------
    obs
        With different names.
    named
        Columns that are shown in any case, as categories however many they have.

    Returns
    -------
    The columns in their order, and the names of those for which there is no room.
    """
    names = list(map(str, obs.columns))
    shown: dict[str, ShownColumn] = {}
    room = _MOST_BYTES
    for name in dict.fromkeys([*named, *names]):
        made = describe_column(name, obs[name], is_named=name in named)
        size = 0 if made is None else _size_of(made)
        if made is not None and (name in named or (size <= room and len(shown) < _MOST_COLUMNS)):
            shown[name] = made
            room -= size
    return [shown[name] for name in names if name in shown], [n for n in names if n not in shown]


def _size_of(column: ShownColumn) -> int:
    """About how many bytes of the page a column takes: codes are compressed well, numbers not."""
    texts = sum(map(len, column.categories))
    return texts + len(column.values) * (3 if column.kind == "number" else 1)


def describe_column(
    name: str, column: "pd.Series[Any]", *, is_named: bool = False
) -> ShownColumn | None:
    """Make a column to show, or None where its texts are too long."""
    if _is_number(column):
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float32, na_value=np.nan)
        return ShownColumn(name, "number", _round(numbers))
    found = categories_of(column)
    if sum(map(len, found.names)) > _MOST_CHARACTERS or len(found.names) >= MISSING:
        return None
    is_category = is_named or len(found.names) <= _MOST_CATEGORIES
    kind: Literal["category", "text"] = "category" if is_category else "text"
    values = np.where(found.codes < 0, MISSING, found.codes).astype(np.uint16)
    return ShownColumn(name, kind, values, tuple(found.names))


def _round(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Leave 12 bits of the fraction, more than three digits: the rest does not compress."""
    bits = values.view(np.uint32) + np.uint32(1 << 10)
    rounded = (bits & np.uint32(0xFFFFF800)).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)


def _is_number(column: "pd.Series[Any]") -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_float_dtype(column):
        return True
    return pd.api.types.is_integer_dtype(column) and column.nunique() > _FEW_NUMBERS
