"""Vectors as Parquet tables: a row a cell, a row for each gene of each cell, or a row a gene.

They are written as they come: what is in memory at once does not grow with the cells.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.model.embedder import GeneVectors
from rankformer.scratch import blocks_of_rows, whole_or_nothing
from rankformer.tasks.anndata_output import UNS_KEY
from rankformer.tasks.embed import CellEmbeddings
from rankformer.tasks.gene_summary import GeneSummary
from rankformer.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROW_GROUP_BYTES = 32 * 2**20


def write_cell_table(part: Path, embeddings: CellEmbeddings) -> None:
    """Write one row a cell: ``cell``, ``source`` where there are several, and ``vector``."""
    import pyarrow as pa

    columns = name_cells(embeddings.obs, embeddings.sources)
    vectors = embeddings.vectors
    texts = dict.fromkeys(columns, pa.string())
    schema = _schema_of_vectors(texts, vectors.shape[1], embeddings.provenance)
    with _open_parquet(part, schema) as writer:
        for rows in blocks_of_rows(vectors):
            cells = [pa.array(column[rows], pa.string()) for column in columns.values()]
            writer.write_table(pa.table([*cells, _vectors_column(vectors[rows])], schema=schema))


def write_gene_vectors(
    path: Path,
    blocks: Iterable[tuple[NDArray[np.int64], GeneVectors]],
    cells: Mapping[str, NDArray[np.object_]],
    vocabulary: Vocabulary,
    d_model: int,
    provenance: dict[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write one long Parquet table as blocks come: a row for each gene of each cell.

    Columns: those of `cells`, each (n_cells,) texts such as the cell's name; ``ensembl_id``,
    ``rank`` (1 = the cell's first gene) and ``vector`` (d_model float32). Cells are in the input's
    order, genes in rank order.
    """
    import pyarrow as pa

    ids = pa.array(vocabulary.ensembl_id_of, pa.string())
    schema = _schema_of_vectors(
        {**dict.fromkeys(cells, pa.string()), "ensembl_id": ids.type, "rank": pa.int32()},
        d_model,
        provenance,
    )
    with whole_or_nothing(path, overwrite=overwrite) as part, _open_parquet(part, schema) as writer:
        for rows, tokens, ranks, vectors in _row_groups(blocks, d_model):
            names = [pa.array(column[rows], pa.string()) for column in cells.values()]
            columns = [*names, ids.take(pa.array(tokens)), ranks, _vectors_column(vectors)]
            writer.write_table(pa.table(columns, schema=schema))


def write_gene_summary(
    path: Path,
    summary: GeneSummary,
    vocabulary: Vocabulary,
    provenance: dict[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write one row a gene as Parquet: ``ensembl_id``, ``symbol``, ``n_cells``, ``vector``."""
    import pyarrow as pa

    symbols = [vocabulary.symbol_of.get(gene) for gene in summary.ensembl_ids]
    columns = {
        "ensembl_id": pa.array(summary.ensembl_ids, pa.string()),
        "symbol": pa.array(symbols, pa.string()),
        "n_cells": pa.array(summary.n_cells),
    }
    schema = _schema_of_vectors(
        {name: column.type for name, column in columns.items()},
        summary.vectors.shape[1],
        provenance,
    )
    with whole_or_nothing(path, overwrite=overwrite) as part, _open_parquet(part, schema) as writer:
        columns["vector"] = _vectors_column(summary.vectors)
        writer.write_table(pa.table(columns, schema=schema))


def name_cells(
    obs: "pd.DataFrame", sources: NDArray[np.object_] | None
) -> dict[str, NDArray[np.object_]]:
    """The columns of a table that tell cells apart: their names and, of several, their sources."""
    names = {"cell": obs.index.astype(str).to_numpy(dtype=object)}
    return names if sources is None else {**names, "source": sources}


def schema_metadata(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Provenance as the metadata of an Arrow schema."""
    return {UNS_KEY: json.dumps(provenance)}


def _row_groups(
    blocks: Iterable[tuple[NDArray[np.int64], GeneVectors]], d_model: int
) -> Iterator[list[NDArray[Any]]]:
    """Cells' rows, tokens, ranks and vectors, as many at once as make a row group worth its cost.

    Each row group of Parquet takes some kB of memory to the very end. Blocks are copied into
    arrays that are used over and over: each group is good until the next.
    """
    n_rows = max(_ROW_GROUP_BYTES // (4 * d_model), 1)
    types = (np.int64, np.int32, np.int32)
    group: list[NDArray[Any]] = [*(np.empty(n_rows, each) for each in types)]
    group.append(np.empty((n_rows, d_model), np.float32))
    n_filled = 0
    for block in blocks:
        columns = _gene_columns(*block)
        n_taken = 0
        while n_taken < len(columns[0]):
            n_more = min(n_rows - n_filled, len(columns[0]) - n_taken)
            for whole, column in zip(group, columns, strict=True):
                whole[n_filled : n_filled + n_more] = column[n_taken : n_taken + n_more]
            n_filled, n_taken = n_filled + n_more, n_taken + n_more
            if n_filled == n_rows:
                yield group
                n_filled = 0
    if n_filled:
        yield [each[:n_filled] for each in group]


def _gene_columns(rows: NDArray[np.int64], genes: GeneVectors) -> list[NDArray[Any]]:
    lengths = np.diff(genes.offsets)
    ranks = np.arange(len(genes.tokens)) - np.repeat(genes.offsets[:-1], lengths) + 1
    return [np.repeat(rows, lengths), genes.tokens, ranks, genes.vectors]


def _schema_of_vectors(
    columns: "Mapping[str, pa.DataType]", d_model: int, provenance: dict[str, Any]
) -> "pa.Schema":
    import pyarrow as pa

    fields = {**columns, "vector": pa.list_(pa.float32(), d_model)}
    return pa.schema(fields, metadata=schema_metadata(provenance))


def _open_parquet(part: Path, schema: "pa.Schema") -> "pq.ParquetWriter":
    import pyarrow.parquet as pq

    # Hardly a number of a vector comes twice, and nobody asks for its least and greatest.
    others = [name for name in schema.names if name != "vector"]
    return pq.ParquetWriter(
        part, schema, compression="zstd", use_dictionary=others, write_statistics=others
    )


def _vectors_column(vectors: NDArray[np.float32]) -> "pa.FixedSizeListArray":
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(
        np.ascontiguousarray(vectors).ravel(), vectors.shape[1]
    )
