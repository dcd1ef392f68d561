"""Annotation of files: counts and a reference in, labels out."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rankformer.annotate.harmony import expect_integration
from rankformer.annotate.kept import kept_overlap
from rankformer.annotate.markers import rows_of
from rankformer.annotate.naming import Query, name_cells
from rankformer.annotate.prepared import (
    ReferenceOfRun,
    name_keys,
    reference_folder,
)
from rankformer.annotate.profiles import QueryCounts
from rankformer.annotate.query_files import closed_counts_of, open_counts_of
from rankformer.annotate.ready import with_ready_reference
from rankformer.annotate.reference import Reference
from rankformer.annotate.reference_files import is_saved_reference, open_reference
from rankformer.annotate.settings import AnnotateJob, Labelling
from rankformer.annotate.shared_genes import overlap_line
from rankformer.annotate.told import label_rows, told_of
from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.likeness import tell_alike
from rankformer.embed.vector_runs import RunVectors, merged_vectors, vector_run
from rankformer.errors import OutputError
from rankformer.results.cell_embeddings import vectors_beside
from rankformer.results.cell_labels import LabelledCells, write_cell_labels
from rankformer.results.messages import label_figures, written_labels
from rankformer.results.output_checks import LABEL_FORMATS, check_cell_target
from rankformer.runs.options import plain_file
from rankformer.runs.run import Run, remove_run
from rankformer.runs.run_folders import is_run_folder
from rankformer.runs.settings import MergeJob
from rankformer.runs.shards import Shard
from rankformer.runs.targets import check_run_target
from rankformer.runs.told import run_summary
from rankformer.scratch import blocks_of_rows, check_free
from rankformer.summary import Summary, Written
from rankformer.tokens.joined_sources import check_inputs_stay, file_to_copy
from rankformer.tokens.reading_options import ReadingOptions


def annotate_files(
    job: AnnotateJob,
    model: str | os.PathLike[str],
    options: ReadingOptions | None = None,
    **settings: Any,
) -> Summary:
    """Annotate files into one output, which appears whole or not at all.

    All inputs are opened and checked before anything is embedded. Vectors lie on the disk: memory
    grows with the labels, and with the graph of a large reference, not with the counts.

    Parameters
    ----------
    job
        Queries, references, labels and output.
    model
        A published name or a folder.
    options
        Where counts and genes lie, in queries and references; a reference that ships is read as it
        lies.
    **settings
        Settings of the `Embedder`.

    Returns
    -------
    What was written, with the inputs as they were opened.

    Raises
    ------
    RankformerError
        If inputs, model, settings and output do not go together.
    """
    job = with_ready_reference(job)
    expect_integration(job.vote.integrate)
    target = check_run_target(job.output, job.run, LABEL_FORMATS, overwrite=job.overwrite)
    goes_on = is_run_folder(target.folder) and not job.run.restart
    if job.save_to is not None and not (goes_on and is_saved_reference(job.save_to)):
        check_free(job.save_to)
    referring = ReferenceOfRun(job, target.folder, Checkpoint.open(model), options, settings)
    work = referring.describe()
    with vector_run(
        target.folder, work, job.run,
        keep_open=not target.is_folder, prepare=referring.prepare, look=referring.look,
    ) as under_way:  # fmt: skip
        streams, run = under_way.inputs.streams, under_way.run
        if not target.is_folder:
            check_inputs_stay(job.output, streams)
        shards = under_way.compute()
        if target.is_folder or under_way.inputs.failures:
            return run_summary(run, shards, under_way.inputs, {"model": work.checkpoint.name})
        summary = write_annotation(
            under_way.vectors, referring.reference, referring.keys, job.vote, job.output,
            counts=open_counts_of(streams, referring.overlap), overwrite=job.overwrite,
        )  # fmt: skip
        remove_run(run)
    written = list(summary.written)
    if job.save_to is not None:
        written.append(Written(job.save_to, "the embedded reference, to be used again"))
    return replace(summary, written=tuple(written), sources=streams)


def write_annotation(
    vectors: RunVectors,
    reference: Reference,
    keys: Mapping[str, str],
    how: Labelling,
    output: Path,
    *,
    counts: QueryCounts | None,
    overwrite: bool,
) -> Summary:
    """Write the labels that the cells of a run get from a reference.

    Parameters
    ----------
    vectors
        Of all cells.
    reference
        Embedded by the same model.
    keys
        Label of the reference → name of the result.
    how
        How labels are decided.
    output, overwrite
        As in `AnnotateJob`.
    counts
        Of the cells, where they are known.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    overlap = kept_overlap(vectors.run.folder)
    missing, sources = vectors.missing(), vectors.sources()
    tell_alike(vectors.values)
    values, obs = vectors.values, vectors.obs(sources)
    with vectors_beside(output, values.shape) as scratch:
        # The votes scale them in place.
        for rows in blocks_of_rows(scratch):
            scratch[rows] = values[rows]
        query = Query(scratch, missing, obs, counts)
        labels = name_cells(query, reference, keys, how, overlap)
    provenance = {**vectors.provenance(), "shared_genes": overlap.told}
    cells = LabelledCells(labels, missing, obs, provenance, sources)
    copied = file_to_copy(output, vectors.cells)
    write_cell_labels(output, cells, copy_of=copied, overwrite=overwrite)
    figures = {
        "n_cells": len(missing), "model": provenance["model"], **label_figures(labels),
        "shared_genes": overlap.told,
    }  # fmt: skip
    tables = {
        "labels": [{"key": key, **row} for key, each in labels.items() for row in label_rows(each)],
        "ways": [
            {"key": key, "way": way, **row} for key, each in labels.items()
            for way, row in each.provenance["method"]["tried"].items()
        ],
        "markers": [
            {"key": key, **row} for key, each in labels.items() if each.provenance["markers"]
            for row in rows_of(each.provenance["markers"])
        ],
    }  # fmt: skip
    told = (overlap_line(overlap), *told_of(labels))
    return Summary((written_labels(output, labels),), figures, tables, told)


def merge_annotation(run: Run, shards: Sequence[Shard], job: MergeJob) -> Summary:
    """Write the labels of the cells of shards that are done; see `merge_run`."""
    check_cell_target(job.output, job.overwrite, LABEL_FORMATS)
    decided = run.manifest.work.options_as_then()
    kept = reference_folder(run.folder)
    how = Labelling(**decided["vote"])
    expect_integration(how.integrate)
    reference = open_reference(kept if kept.exists() else _unchanged(decided["references"][0]))
    keys = name_keys(decided["labels"] or tuple(reference.codes), decided["keys"])
    vectors = merged_vectors(run, shards)
    counts = closed_counts_of(run, shards)
    return write_annotation(
        vectors, reference, keys, how, job.output, counts=counts, overwrite=job.overwrite
    )


def _unchanged(known: Mapping[str, Any]) -> Path:
    """The folder of a saved reference, if it is as it was when the run began."""
    path = Path(known["path"])
    odd = "is gone" if not path.exists() else "is another than when the run began"
    if not path.exists() or plain_file(path) != dict(known):
        raise OutputError(
            f"The reference {path} {odd}.",
            "The reference as it was, which decides the labels.",
            "Put it back as it was, or begin the run anew with --restart.",
        )
    return path
