"""Columns that tell the cells of a table of perturbations apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.cells.obs_columns import require_column
from rankformer.errors import SettingsError
from rankformer.perturb.table import TABLE_COLUMNS
from rankformer.results.parquet_tables import name_cells
from rankformer.tokens.joined_sources import name_sources
from rankformer.tokens.token_sources import TokenSource


def name_rows(
    streams: Sequence[TokenSource], attributes: Mapping[str, str]
) -> dict[str, NDArray[np.object_]]:
    """Columns of all cells of all sources: their names, sources where several are, attributes.

    Raises
    ------
    SettingsError
        If an attribute is missing, or has the name of another column.
    """
    every_cell = pd.concat([stream.obs[[]] for stream in streams])
    columns = name_cells(every_cell, name_sources(streams))
    for name, column in attributes.items():
        if name in (*columns, *TABLE_COLUMNS):
            raise SettingsError(
                f"The attribute {name!r} has the name of a column of the table.",
                "Another name.",
                f"Give it one: --attribute NEW={column}.",
            )
        for stream in streams:
            require_column(stream.obs, column, "--attribute", f"obs of {stream.name}")
        columns[name] = np.concatenate([_as_texts(stream.obs[column]) for stream in streams])
    return columns


def _as_texts(column: "pd.Series[Any]") -> NDArray[np.object_]:
    texts = column.map(str, na_action="ignore").astype(object)
    return np.asarray(texts.where(texts.notna(), None), object)
