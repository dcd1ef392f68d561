"""Parquet tables with a column of vectors, and with provenance in the metadata of their schema."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.results.anndata_files import UNS_KEY
from rankformer.scratch import whole_or_nothing

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
    columns: "Mapping[str, pa.DataType]", d_model: int, provenance: dict[str, Any] | None = None
) -> "pa.Schema":
    """The schema of some columns and of ``vector``, `d_model` float32 each."""
    import pyarrow as pa

    fields = {**columns, "vector": pa.list_(pa.float32(), d_model)}
    return pa.schema(fields, metadata=schema_metadata(provenance) if provenance else None)


def open_parquet(part: Path, schema: "pa.Schema") -> "pq.ParquetWriter":
    """A writer that appends row groups to a table of vectors."""
    import pyarrow.parquet as pq

    # Hardly a number of a vector comes twice, and nobody asks for its least and greatest.
    others = [name for name in schema.names if name != "vector"]
    return pq.ParquetWriter(
        part, schema, compression="zstd", use_dictionary=others, write_statistics=others,
        write_page_checksum=True,
    )  # fmt: skip


def vectors_column(vectors: NDArray[np.float32]) -> "pa.FixedSizeListArray":
    """(n, d_model) float32 as a column ``vector``."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(
        np.ascontiguousarray(vectors).ravel(), vectors.shape[1]
    )


class RowGroups:
    """Puts tables together until they make a row group worth its cost.

    Each row group of Parquet takes some kB of memory to the very end.

    Parameters
    ----------
    write
        Takes a table that is to be a row group.
    n_bytes
        What it has in memory at least; but for the last.
    """

    def __init__(self, write: "Callable[[pa.Table], None]", n_bytes: int) -> None:
        self._write, self._n_bytes = write, n_bytes
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0

    def add(self, table: "pa.Table") -> None:
        """Take rows, all of one schema."""
        self._waiting.append(table)
        self._n_waiting += table.nbytes
        if self._n_waiting >= self._n_bytes:
            self.finish()

    def finish(self) -> None:
        """Write what is left."""
        import pyarrow as pa

        if any(table.num_rows for table in self._waiting):
            self._write(pa.concat_tables(self._waiting))
        self._waiting, self._n_waiting = [], 0


def write_tables(
    path: Path,
    tables: "Iterable[pa.Table]",
    provenance: Mapping[str, Any],
    *,
    notes: Mapping[str, Any] | None = None,
    group_bytes: int = 0,
    overwrite: bool = False,
) -> int:
    """Write tables as one Parquet file, which appears whole or not at all.

    Parameters
    ----------
    path
        The file.
    tables
        At least one, all of the schema of the first.
    provenance
        For the metadata of the schema.
    notes
        Name → plain values, for the metadata of the file.
    group_bytes
        Tables are put together to row groups of so many bytes, or else are one each.
    overwrite
        Replace a file that is there.

    Returns
    -------
    The number of rows.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    n_rows = 0
    with whole_or_nothing(path, overwrite=overwrite) as part, ExitStack() as stack:
        groups: RowGroups | None = None
        for table in tables:
            if groups is None:
                schema = table.schema.with_metadata(schema_metadata(provenance))
                writer = stack.enter_context(open_parquet(part, schema))
                groups = RowGroups(writer.write_table, group_bytes)
            groups.add(table.cast(schema))
            n_rows += table.num_rows
        if groups is not None:
            groups.finish()
            told = {key: json.dumps(each) for key, each in (notes or {}).items()}
            writer.add_key_value_metadata(told)
    return n_rows


def indented_table(table: "pd.DataFrame") -> str:
    """Rows as lines for the log, which keeps lines that begin with a space as they are."""
    lines = table.to_string(index=False, float_format=lambda x: f"{x:.3g}").split("\n")
    return "\n".join(f"  {line}" for line in lines)
