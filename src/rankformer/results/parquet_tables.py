"""Parquet tables with a column of vectors, and with provenance in the metadata of their schema."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.results.anndata_files import UNS_KEY

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq


def name_cells(
    obs: "pd.DataFrame", sources: NDArray[np.object_] | None
) -> dict[str, NDArray[np.object_]]:
    """The columns of a table that tell cells apart: their names and, of several, their sources."""
    names = {"cell": obs.index.astype(str).to_numpy(dtype=object)}
    return names if sources is None else {**names, "source": sources}


def schema_metadata(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Provenance as the metadata of an Arrow schema."""
    return {UNS_KEY: json.dumps(provenance)}


def schema_of_vectors(
    columns: "Mapping[str, pa.DataType]", d_model: int, provenance: dict[str, Any]
) -> "pa.Schema":
    """The schema of some columns and of ``vector``, `d_model` float32 each."""
    import pyarrow as pa

    fields = {**columns, "vector": pa.list_(pa.float32(), d_model)}
    return pa.schema(fields, metadata=schema_metadata(provenance))


def open_parquet(part: Path, schema: "pa.Schema") -> "pq.ParquetWriter":
    """A writer that appends row groups to a table of vectors."""
    import pyarrow.parquet as pq

    # Hardly a number of a vector comes twice, and nobody asks for its least and greatest.
    others = [name for name in schema.names if name != "vector"]
    return pq.ParquetWriter(
        part, schema, compression="zstd", use_dictionary=others, write_statistics=others
    )


def vectors_column(vectors: NDArray[np.float32]) -> "pa.FixedSizeListArray":
    """(n, d_model) float32 as a column ``vector``."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(
        np.ascontiguousarray(vectors).ravel(), vectors.shape[1]
    )


def indented_table(table: "pd.DataFrame") -> str:
    """Rows as lines for the log, which keeps lines that begin with a space as they are."""
    lines = table.to_string(index=False, float_format=lambda x: f"{x:.3g}").split("\n")
    return "\n".join(f"  {line}" for line in lines)
