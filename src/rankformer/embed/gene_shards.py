"""Vectors of the genes of cells as shards of a run: computed, and joined to one table."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankformer.embed.cells import (
    check_fits,
    count_missing,
    filtered_out,
    gene_vectors_of,
    tell_counts,
)
from rankformer.embed.embedder import Embedder
from rankformer.progress import Progress
from rankformer.results.gene_embeddings import gene_schema, gene_tables
from rankformer.results.parquet_tables import write_tables
from rankformer.runs.run import Run
from rankformer.runs.shards import Shard, ShardWriter
from rankformer.summary import Written
from rankformer.tokens.token_sources import TokenPart, TokenSource

if TYPE_CHECKING:
    import pyarrow as pa

_GROUP_BYTES = 16 * 2**20


@dataclass(frozen=True, eq=False)
class GeneShards:
    """Computes the vectors of the genes of the cells of a shard.

    The Parquet file has a row for each gene of each cell, as the table of results, but for the
    column ``source``.
    """

    embedder: Embedder

    def compute(
        self,
        source: TokenSource,
        shard: Shard,
        parts: Iterator[TokenPart],
        out: ShardWriter,
        progress: Progress,
    ) -> None:
        """Embed the genes of a shard's cells; see `ShardTask`."""
        embedder, first = self.embedder, shard.start
        check_fits(source, embedder)
        missing = filtered_out(source, first, shard.stop)
        blocks = gene_vectors_of(parts, embedder, missing, first=first, progress=progress)
        cells = {"cell": source.names(first, shard.stop)}
        vocabulary, d_model = embedder.checkpoint.vocabulary, embedder.d_model
        for table in gene_tables(blocks, cells, vocabulary, d_model):
            out.add(table)
        out.note(missing=dict(count_missing(missing)))


def write_genes(
    run: Run, shards: Sequence[Shard], output: Path, *, overwrite: bool
) -> tuple[Written, dict[str, Any]]:
    """Write the vectors of genes of shards that are done as one table.

    Returns
    -------
    What was written, and figures of it.

    Raises
    ------
    OutputError
        If it cannot be written, or a shard cannot be read.
    """
    n_cells, missing = sum(map(len, shards)), Counter[str]()
    for shard in shards:
        missing.update(run.notes(shard).get("missing", {}))
    tell_counts(missing, n_cells)
    notes, inputs = run.manifest.notes, run.manifest.inputs
    names = ["cell"] if len(inputs) == 1 else ["cell", "source"]
    empty = gene_schema(names, notes["d_model"]).empty_table()
    sources = {str(i): dict(each.source) for i, each in enumerate(inputs)}
    write_tables(
        output, chain([empty], _tables(run, shards)), {**notes["provenance"], "sources": sources},
        group_bytes=_GROUP_BYTES, overwrite=overwrite,
    )  # fmt: skip
    return Written(output, "vectors of genes, one a gene and cell"), {"n_cells": n_cells}


def _tables(run: Run, shards: Sequence[Shard]) -> "Iterator[pa.Table]":
    """The rows of all shards; of several inputs with the name of each."""
    import pyarrow as pa

    inputs = run.manifest.inputs
    for shard in shards:
        name = inputs[shard.input].source["source"]
        for table in run.row_groups(shard):
            if len(inputs) == 1:
                yield table
            else:
                texts = pa.array(np.full(table.num_rows, name, object), pa.string())
                yield table.add_column(1, "source", texts)
