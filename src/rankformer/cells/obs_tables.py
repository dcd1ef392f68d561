"""Tables of cells and of variables, as anndata writes them."""

from typing import Any

import pandas as pd
from anndata.io import read_elem


def read_table(group: Any) -> pd.DataFrame:
    """Read ``obs`` or ``var``; a ValueError where names or categories are no texts or numbers.

    anndata believes the shape of an array of names: of one with two dimensions it makes tuples.
    """
    table: pd.DataFrame = read_elem(group)
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"it is {type(table).__name__}, not a table")
    categories = {name: each.cat.categories for name, each in table.items()
                  if isinstance(each.dtype, pd.CategoricalDtype)}  # fmt: skip
    for what, names in {"its names": table.index, **categories}.items():
        if len(names) and (isinstance(names[0], bytes) or not pd.api.types.is_scalar(names[0])):
            raise ValueError(f"{what} are no list of texts or numbers")
    return table
