"""The main job on files: counts in, a file of embeddings out."""

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.cells import describe_run, fill_vectors, iterate_gene_vectors, tell_missing
from rankformer.embed.embedder import Embedder
from rankformer.embed.gene_summary import summarize_genes
from rankformer.embed.settings import CellMode, EmbedJob, Statistic
from rankformer.errors import SettingsError
from rankformer.progress import show_progress
from rankformer.results.cell_embeddings import CellEmbeddings, vectors_beside, write_cell_vectors
from rankformer.results.gene_embeddings import write_gene_summary, write_gene_vectors
from rankformer.results.messages import written_vectors
from rankformer.results.output_checks import check_cell_target, check_key, check_target
from rankformer.results.parquet_tables import name_cells
from rankformer.summary import Summary, Written
from rankformer.tokens.joined_sources import (
    check_inputs_stay,
    file_to_copy,
    join_obs,
    name_sources,
)
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import opened_sources

_Made = tuple[Written, dict[str, Any]]


def embed_files(
    job: EmbedJob,
    model: str | os.PathLike[str],
    options: ReadingOptions | None = None,
    **settings: Any,
) -> Summary:
    """Embed files into one output, which appears whole or not at all.

    All inputs are opened and checked before the model is loaded and anything is written. Memory
    does not grow with the cells.

    Parameters
    ----------
    job
        Inputs, output and mode.
    model
        A published name or a folder.
    options
        Where counts and genes lie, for all inputs.
    **settings
        Settings of the `Embedder`.

    Returns
    -------
    What was written, with the inputs as they were opened.

    Raises
    ------
    RankformerError
        If input, model, settings and output do not go together.
    """
    _check_mode(job)
    check_key(job.key)
    output = _check_output(job)
    checkpoint = Checkpoint.open(model)
    with opened_sources(job.sources, checkpoint.vocabulary, options) as streams:
        check_inputs_stay(output, streams)
        embedder = Embedder(checkpoint, **settings)
        if job.mode != "gene":
            written, figures = _embed_cells(job, streams, embedder, job.mode)
        elif job.summary:
            written, figures = _summarize_genes(job, streams, embedder, job.summary)
        else:
            written, figures = _embed_genes(job, streams, embedder)
    figures |= {"model": embedder.checkpoint.name, "mode": job.mode, "d_model": embedder.d_model}
    return Summary((written,), figures, sources=streams)


def _check_output(job: EmbedJob) -> Path:
    if job.mode == "gene":
        return check_target(job.output, (".parquet",), job.overwrite)
    return check_cell_target(job.output, job.overwrite)


def _check_mode(job: EmbedJob) -> None:
    if job.summary and job.mode != "gene":
        raise SettingsError(
            f"A summary over cells was asked for with mode {job.mode}.",
            'Mode "gene": its vectors are summarised over cells.',
            "Add --mode gene, or leave --summary out.",
        )


def _embed_cells(
    job: EmbedJob, streams: Sequence[TokenSource], embedder: Embedder, mode: CellMode
) -> _Made:
    embedder.check_mode(mode)
    n_cells = sum(map(len, streams))
    with vectors_beside(job.output, (n_cells, embedder.d_model)) as vectors:
        with show_progress(n_cells, "Embedding cells") as progress:
            missing = fill_vectors(vectors, streams, embedder, mode=mode, progress=progress)
        tell_missing(missing)
        n_missing = sum(map(bool, missing))
        provenance = describe_run(embedder, mode, streams)
        sources = name_sources(streams)
        embeddings = CellEmbeddings(
            vectors, missing, join_obs(streams, sources), provenance, sources
        )
        write_cell_vectors(
            job.output, embeddings,
            key=job.key, copy_of=file_to_copy(job.output, streams), overwrite=job.overwrite,
        )  # fmt: skip
    shape = n_cells, embedder.d_model
    written = written_vectors(job.output, job.key, shape, embedder.checkpoint.name, mode)
    return written, {"n_cells": n_cells, "n_cells_without_embedding": n_missing, "key": job.key}


def _embed_genes(job: EmbedJob, streams: Sequence[TokenSource], embedder: Embedder) -> _Made:
    obs = pd.concat([stream.obs[[]] for stream in streams])
    cells = name_cells(obs, name_sources(streams))
    starts = np.cumsum([0, *map(len, streams)])
    with show_progress(len(obs), "Embedding genes") as progress:
        blocks = (
            (start + rows, genes)
            for start, stream in zip(starts.tolist(), streams, strict=False)
            for rows, genes in iterate_gene_vectors(stream, embedder, progress)
        )
        provenance = describe_run(embedder, "gene", streams)
        with closing(blocks):
            write_gene_vectors(
                job.output, blocks, cells, embedder.checkpoint.vocabulary, embedder.d_model,
                provenance, overwrite=job.overwrite,
            )  # fmt: skip
    return Written(job.output, "vectors of genes, one a gene and cell"), {"n_cells": len(obs)}


def _summarize_genes(
    job: EmbedJob, streams: Sequence[TokenSource], embedder: Embedder, statistic: Statistic
) -> _Made:
    n_cells = sum(map(len, streams))
    with show_progress(n_cells, "Embedding genes") as progress:
        summary = summarize_genes(
            streams,
            embedder,
            statistic=statistic,
            scratch_folder=job.output.parent,
            progress=progress,
        )
    provenance = {**describe_run(embedder, "gene", streams), "summary": statistic}
    write_gene_summary(
        job.output, summary, embedder.checkpoint.vocabulary, provenance, overwrite=job.overwrite
    )
    written = Written(job.output, f"vectors of genes, {statistic} over all cells")
    return written, {"n_cells": n_cells, "summary": statistic}
