"""Several inputs as one: whose cells are whose, obs joined, and what an output is a copy of."""

import logging
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.cells.source import FileKind, identify
from rankformer.errors import OutputError
from rankformer.tokens.token_sources import NamedCells
from rankformer.tokens.tokenized_cells import is_saved_tokens

logger = logging.getLogger(__name__)

_COPIED = {".h5ad": FileKind.H5AD, ".zarr": FileKind.ZARR}


def check_inputs_stay(output: Path, streams: Sequence[NamedCells]) -> None:
    """Refuse to replace an input, unless by a copy of it with the result added."""
    inputs = [Path(stream.name).resolve() for stream in streams]
    if output.resolve() in inputs and file_to_copy(output, streams) is None:
        raise OutputError(
            f"The output {output} is one of the inputs, and would not hold its counts.",
            "Another name: inputs are only read.",
            "Choose another output.",
        )


def file_to_copy(output: Path, streams: Sequence[NamedCells]) -> Path | None:
    """The input that an output of its own format is a copy of, or None."""
    path, kind = streams[0].path, _COPIED.get(output.suffix)
    if len(streams) > 1 or path is None or kind is None or is_saved_tokens(path):
        return None
    # By what it is: AnnData's HDF5 may be named .h5.
    return path if identify(path) is kind else None


def name_sources(
    streams: Sequence[NamedCells], *, are_several: bool = False
) -> NDArray[np.object_] | None:
    """(n_cells,) which input each cell is of, or None where there is but one."""
    if len(streams) == 1 and not are_several:
        return None
    names = np.array([stream.name for stream in streams], dtype=object)
    return np.repeat(names, [len(stream) for stream in streams])


def join_obs(streams: Sequence[NamedCells], sources: NDArray[np.object_] | None) -> pd.DataFrame:
    """All columns of all inputs, missing where an input has none of the name, and the source."""
    if sources is None:
        return streams[0].obs
    obs = pd.concat([stream.obs for stream in streams]).apply(_of_one_type)
    names = chain(["source"], (f"source_{i}" for i in count(2)))
    column = next(name for name in names if name not in obs)
    logger.info('The input that each cell is from is in obs["%s"].', column)
    return obs.assign(**{column: sources})


def _of_one_type(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Text, where a column is text in one input and numbers in another: no format takes both."""
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if column.dtype != object or kind in ("string", "empty"):
        return column
    if kind == "boolean":
        return column.astype("boolean")
    return column.map(str, na_action="ignore")
