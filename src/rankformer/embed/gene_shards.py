"""Vectors of the genes of cells as shards of a run: computed, and joined to one table."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.embed.batches import GeneBatch
from rankformer.embed.cells import count_missing, filtered_out, tell_counts
from rankformer.embed.embedder import Embedder
from rankformer.embed.vector_shards import tokens_for
from rankformer.progress import Progress
from rankformer.results.gene_embeddings import GeneVectors, gene_schema, gene_tables
from rankformer.results.parquet_tables import write_tables
from rankformer.runs.compute import ShardPart, ShardResult
from rankformer.runs.run import Run
from rankformer.runs.shards import Shard, ShardWriter
from rankformer.summary import Written
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import NO_GENES

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
        self, parts: Iterator[ShardPart], n_cells: int | None, progress: Progress
    ) -> Generator[ShardResult, None, None]:
        """Embed the genes of cells of shards; see `ShardTask`."""
        tokens_of = partial(tokens_for, self.embedder)
        with closing(self.embedder.stream_genes(parts, tokens_of, n_cells)) as batches:
            for part, start, stop, batch in batches:
                if batch is None or part.cells is None:
                    yield ShardResult.of(part)
                    continue
                rows = part.cells.rows[start:stop] - part.shard.start
                yield ShardResult.of(part, (rows, start, batch), batch.n_bytes)
                progress(stop - start)

    def write(
        self,
        source: TokenSource,
        shard: Shard,
        values: Iterator[tuple[NDArray[np.int64], int, GeneBatch]],
        out: ShardWriter,
    ) -> None:
        """Write the vectors of a shard; see `ShardTask`."""
        missing = filtered_out(source, shard.start, shard.stop)

        def blocks() -> Iterator[tuple[NDArray[np.int64], GeneVectors]]:
            for rows, start, batch in values:
                missing[rows[batch.is_empty]] = NO_GENES
                yield rows, batch.vectors(start)

        cells = {"cell": source.names(shard.start, shard.stop)}
        vocabulary, d_model = self.embedder.checkpoint.vocabulary, self.embedder.d_model
        for table in gene_tables(blocks(), cells, vocabulary, d_model):
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
