"""The main job on files: counts in, a file of embeddings out."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.cells import describe_run
from rankformer.embed.embedder import Embedder
from rankformer.embed.gene_shards import write_genes
from rankformer.embed.gene_summary import summarize_genes
from rankformer.embed.likeness import tell_alike
from rankformer.embed.settings import EmbedJob, Statistic
from rankformer.embed.vector_recipes import AnyEmbedding
from rankformer.embed.vector_runs import (
    RunVectors,
    VectorWork,
    merged_vectors,
    vector_run,
)
from rankformer.errors import SettingsError
from rankformer.printable import printable
from rankformer.progress import show_progress
from rankformer.results.cell_embeddings import CellEmbeddings, write_cell_vectors
from rankformer.results.gene_embeddings import write_gene_summary
from rankformer.results.messages import written_vectors
from rankformer.results.output_checks import (
    CELL_FORMATS,
    check_cell_target,
    check_key,
    check_target,
)
from rankformer.runs.run import Run, remove_run
from rankformer.runs.settings import MergeJob
from rankformer.runs.shards import Shard
from rankformer.runs.targets import check_run_target
from rankformer.runs.told import run_summary
from rankformer.summary import Summary, Written
from rankformer.tokens.joined_sources import (
    check_inputs_stay,
    file_to_copy,
)
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import opened_sources

_Made = tuple[Written, dict[str, Any]]

logger = logging.getLogger(__name__)


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
    if job.summary is None:
        return _embed_in_shards(job, Checkpoint.open(model), options, settings)
    output = check_target(job.output, (".parquet",), job.overwrite)
    checkpoint = Checkpoint.open(model)
    with opened_sources(job.sources, checkpoint.vocabulary, options) as streams:
        check_inputs_stay(output, streams)
        embedder = Embedder(checkpoint, **settings)
        written, figures = _summarize_genes(job, streams, embedder, job.summary)
    return Summary((written,), figures | _figures(job, embedder), sources=streams)


def _figures(job: EmbedJob, embedder: AnyEmbedding) -> dict[str, Any]:
    return {"model": embedder.checkpoint.name, "mode": job.mode, "d_model": embedder.d_model}


def _check_mode(job: EmbedJob) -> None:
    if job.summary and job.mode != "gene":
        raise SettingsError(
            f"A summary over cells was asked for with mode {job.mode}.",
            'Mode "gene": its vectors are summarised over cells.',
            "Add --mode gene, or leave --summary out.",
        )
    if job.summary and (job.run.shard is not None or job.run.shard_cells is not None):
        raise SettingsError(
            "A summary over cells was asked for in shards.",
            "One pass over all cells: a summary is computed as one piece.",
            "Leave out --shard and --shard-cells, or leave out --summary.",
        )


def _embed_in_shards(
    job: EmbedJob,
    checkpoint: Checkpoint,
    options: ReadingOptions | None,
    settings: dict[str, Any],
) -> Summary:
    work = VectorWork(
        task="embed", sources=job.sources, checkpoint=checkpoint, mode=job.mode,
        options=options, embedding=settings, notes={"key": job.key},
    )  # fmt: skip
    formats = (".parquet",) if job.mode == "gene" else CELL_FORMATS
    target = check_run_target(job.output, job.run, formats, overwrite=job.overwrite)
    with vector_run(target.folder, work, job.run, keep_open=not target.is_folder) as under_way:
        streams, figures = under_way.inputs.streams, _figures(job, under_way.embedder)
        if not target.is_folder:
            check_inputs_stay(job.output, streams)
        shards = under_way.compute()
        if under_way.stages is not None:
            figures |= under_way.stages.figures()
        if target.is_folder or under_way.inputs.failures:
            return run_summary(under_way.run, shards, under_way.inputs, figures)
        if job.mode == "gene":
            written, more = write_genes(under_way.run, shards, job.output, overwrite=job.overwrite)
        else:
            written, more = write_vectors(
                under_way.vectors, job.output, job.key, overwrite=job.overwrite
            )
        remove_run(under_way.run)
    return Summary((written,), more | figures, sources=streams)


def write_vectors(
    vectors: RunVectors, output: Path, key: str, *, overwrite: bool
) -> tuple[Written, dict[str, Any]]:
    """Write the embeddings of a run that is done in the format of the output's ending.

    Parameters
    ----------
    vectors
        Of all cells.
    output, key, overwrite
        As in `EmbedJob`.

    Returns
    -------
    What was written, and figures of it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    missing, sources = vectors.missing(), vectors.sources()
    tell_alike(vectors.values)
    provenance = vectors.provenance()
    embeddings = CellEmbeddings(vectors.values, missing, vectors.obs(sources), provenance, sources)
    copied = file_to_copy(output, vectors.cells)
    if copied is None and output.suffix in (".h5ad", ".zarr"):
        logger.info(
            "%s holds the embedding and the obs of the cells, but no counts, as it is no copy of "
            "one input. For a report, embed the inputs one by one, or add the counts to it.",
            printable(str(output)),
        )
    write_cell_vectors(output, embeddings, key=key, copy_of=copied, overwrite=overwrite)
    written = written_vectors(
        output, key, embeddings.vectors.shape, provenance["model"], provenance["mode"]
    )
    n_missing = sum(map(bool, missing))
    return written, {"n_cells": len(missing), "n_cells_without_embedding": n_missing, "key": key}


def merge_embeddings(run: Run, shards: Sequence[Shard], job: MergeJob) -> Summary:
    """Write the embeddings of shards that are done; see `merge_run`."""
    if run.manifest.work.options["mode"] == "gene":
        check_target(job.output, (".parquet",), job.overwrite)
        written, figures = write_genes(run, shards, job.output, overwrite=job.overwrite)
        return Summary((written,), figures)
    check_cell_target(job.output, job.overwrite)
    key = job.key or run.manifest.notes["key"]
    check_key(key)
    vectors = merged_vectors(run, shards)
    written, figures = write_vectors(vectors, job.output, key, overwrite=job.overwrite)
    return Summary((written,), figures)


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
