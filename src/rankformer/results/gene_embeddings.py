"""Embeddings of genes as a result: in memory, and as Parquet tables.

A table has a row for each gene of each cell, or a row a gene. It is written as vectors come: what
is in memory at once does not grow with the cells.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.results.parquet_tables import schema_of_vectors, vectors_column, write_tables
from rankformer.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP_BYTES = 32 * 2**20


@dataclass(frozen=True, eq=False)
class GeneVectors:
    """Vectors of the gene tokens of consecutive cells.

    Attributes
    ----------
    start
        Index of the first cell.
    offsets
        (n_cells + 1,) int64: cell ``start + i`` has the rows ``offsets[i]`` … ``offsets[i + 1]``.
    tokens
        (n_tokens,) int32, in rank order within each cell, without special tokens.
    vectors
        (n_tokens, d_model) float32.
    """

    start: int
    offsets: NDArray[np.int64]
    tokens: NDArray[np.int32]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GeneSummary:
    """One vector a gene.

    Attributes
    ----------
    ensembl_ids
        (n_genes,) genes that at least one cell has, in ascending order of tokens.
    n_cells
        (n_genes,) int64: cells that have the gene among their tokens.
    vectors
        (n_genes, d_model) float32.
    """

    ensembl_ids: NDArray[np.object_]
    n_cells: NDArray[np.int64]
    vectors: NDArray[np.float32]


def gene_schema(names: Sequence[str], d_model: int) -> "pa.Schema":
    """The schema of a long table: columns that tell cells apart, gene, rank and vector."""
    import pyarrow as pa

    columns = {**dict.fromkeys(names, pa.string()), "ensembl_id": pa.string(), "rank": pa.int32()}
    return schema_of_vectors(columns, d_model)


def gene_tables(
    blocks: Iterable[tuple[NDArray[np.int64], GeneVectors]],
    cells: Mapping[str, NDArray[np.object_]],
    vocabulary: Vocabulary,
    d_model: int,
) -> "Iterator[pa.Table]":
    """Long tables as blocks come: a row for each gene of each cell.

    Columns: those of `cells`, each (n_cells,) texts such as the cell's name; ``ensembl_id``,
    ``rank`` (1 = the cell's first gene) and ``vector`` (d_model float32). Cells are in the input's
    order, genes in rank order.

    Yields
    ------
    Tables that are worth a row group each. Write each before the next is asked for: its memory is
    used again.
    """
    import pyarrow as pa

    ids = pa.array(vocabulary.ensembl_id_of, pa.string())
    schema = gene_schema(list(cells), d_model)
    for rows, tokens, ranks, vectors in _row_groups(blocks, d_model):
        names = [pa.array(column[rows], pa.string()) for column in cells.values()]
        columns = [*names, ids.take(pa.array(tokens)), ranks, vectors_column(vectors)]
        yield pa.table(columns, schema=schema)


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
    columns["vector"] = vectors_column(summary.vectors)
    write_tables(path, [pa.table(columns)], provenance, overwrite=overwrite)


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
