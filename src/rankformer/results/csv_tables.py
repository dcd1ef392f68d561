"""CSV files: what begins like a formula is text, in spreadsheets as here.

A spreadsheet takes a field that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, which can
start programs or send off what stands beside it. Names of cells come from files of anyone. An
apostrophe in front makes such a text one that is shown; `read_csv` takes it away again.
"""

import csv
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

# A sign alone is no formula. The last four are the signs in the width of Chinese characters.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20].", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_csv(table: "pd.DataFrame", target: Path | TextIO, *, header: bool = True) -> None:
    """Write a table as CSV, without its index.

    Parameters
    ----------
    table
        Texts that begin like a formula, and are no number, get an apostrophe in front, in names of
        columns too. Numbers are written as they are.
    target
        A file that is to be made, or one that is open.
    header
        Write the names of the columns.
    """
    guarded = _texts_changed(table, _guard)
    in_quotes: Any = csv.QUOTE_NONNUMERIC if _need_quotes(guarded) else csv.QUOTE_MINIMAL
    guarded.to_csv(target, index=False, header=header, quoting=in_quotes)


def read_csv(path: Path, **how: Any) -> "pd.DataFrame":
    """Read a table that `write_csv` wrote, or another one; apostrophes of the former are gone.

    Parameters
    ----------
    path
        The file.
    **how
        For `pandas.read_csv`.

    Raises
    ------
    ValueError, OSError
        If it is no CSV, or cannot be read.
    """
    import pandas as pd

    return _texts_changed(pd.read_csv(path, **how), _unguard)


def _need_quotes(table: "pd.DataFrame") -> bool:
    """Whether a text would not be read back without quotes, and gets none from pandas by itself.

    Such are texts with the carriage return of old systems, and those of blanks alone: a line of
    nothing else is taken for an empty one.
    """
    columns = (column for _, column in table.items() if column.dtype.kind == "O")
    return any(
        isinstance(each, str) and ("\r" in each or each.isspace())
        for each in chain(table.columns, chain.from_iterable(columns))
    )


def _texts_changed(table: "pd.DataFrame", change: Any) -> "pd.DataFrame":
    import pandas as pd

    changed = table.copy(deep=False)
    for position, kind in enumerate(table.dtypes):
        is_text = isinstance(kind, pd.CategoricalDtype | pd.StringDtype)
        if is_text or pd.api.types.is_object_dtype(kind):
            texts: Any = table.iloc[:, position].astype(object).map(change)
            changed.isetitem(position, texts)
    changed.columns = pd.Index(list(map(change, table.columns)), dtype=object)
    return changed


def _guard(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def _unguard(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("'") and _is_formula(value[1:]):
        return value[1:]
    return value


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None
