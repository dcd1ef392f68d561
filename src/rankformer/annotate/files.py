"""Annotation of files: counts and a reference in, labels out."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rankformer.annotate.reference import Reference, index_cells, read_labels
from rankformer.annotate.reference_files import is_saved_reference, open_reference, save_reference
from rankformer.annotate.settings import AnnotateJob, NeighbourVote
from rankformer.annotate.vote import check_annotation, transfer_labels
from rankformer.cells.open_sources import list_sources
from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.embedder import Embedder
from rankformer.embed.vector_recipes import AnyEmbedding, open_here
from rankformer.embed.vector_runs import (
    RunVectors,
    VectorWork,
    merged_vectors,
    vector_run,
)
from rankformer.errors import OutputError, SettingsError
from rankformer.progress import show_progress
from rankformer.results.cell_embeddings import vectors_beside
from rankformer.results.cell_labels import LabelledCells, write_cell_labels
from rankformer.results.messages import label_figures, label_lines, written_labels
from rankformer.results.output_checks import LABEL_FORMATS, check_cell_target, check_key
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
from rankformer.tokens.tokenize import Sources, opened_sources


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
        Where counts and genes lie, in queries and references.
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
    target = check_run_target(job.output, job.run, LABEL_FORMATS, overwrite=job.overwrite)
    goes_on = is_run_folder(target.folder) and not job.run.restart
    if job.save_to is not None and not (goes_on and is_saved_reference(job.save_to)):
        check_free(job.save_to)
    referring = _Referring(job, target.folder, Checkpoint.open(model), options, settings)
    work = referring.describe()
    with vector_run(
        target.folder, work, job.run,
        keep_open=not target.is_folder, prepare=referring.prepare,
    ) as under_way:  # fmt: skip
        streams, run = under_way.inputs.streams, under_way.run
        if not target.is_folder:
            check_inputs_stay(job.output, streams)
        shards = under_way.compute()
        if target.is_folder or under_way.inputs.failures:
            return run_summary(run, shards, under_way.inputs, {"model": work.checkpoint.name})
        vectors, reference = under_way.vectors, referring.reference
        summary = write_annotation(
            vectors, reference, referring.keys, job.vote, job.output, overwrite=job.overwrite
        )
        remove_run(run)
    written = list(summary.written)
    if job.save_to is not None:
        written.append(Written(job.save_to, "the embedded reference, to be used again"))
    return replace(summary, written=tuple(written), sources=streams)


def write_annotation(
    vectors: RunVectors,
    reference: Reference,
    keys: Mapping[str, str],
    vote: NeighbourVote,
    output: Path,
    *,
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
    vote
        How labels are decided.
    output, overwrite
        As in `AnnotateJob`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    missing, sources = vectors.missing(), vectors.sources()
    values = vectors.values
    with vectors_beside(output, values.shape) as scratch:
        # The votes scale them in place.
        for rows in blocks_of_rows(scratch):
            scratch[rows] = values[rows]
        labels = transfer_labels(scratch, missing, reference, keys, vote)
    obs, provenance = vectors.obs(sources), vectors.provenance()
    cells = LabelledCells(labels, missing, obs, provenance, sources)
    copied = file_to_copy(output, vectors.cells)
    write_cell_labels(output, cells, copy_of=copied, overwrite=overwrite)
    figures = {"n_cells": len(missing), "model": provenance["model"], **label_figures(labels)}
    return Summary((written_labels(output, labels),), figures, told=label_lines(labels))


def merge_annotation(run: Run, shards: Sequence[Shard], job: MergeJob) -> Summary:
    """Write the labels of the cells of shards that are done; see `merge_run`."""
    check_cell_target(job.output, job.overwrite, LABEL_FORMATS)
    decided = run.manifest.work.options
    kept = reference_folder(run.folder)
    reference = open_reference(kept if kept.exists() else _unchanged(decided["references"][0]))
    keys = name_keys(decided["labels"] or tuple(reference.codes), decided["keys"])
    vectors = merged_vectors(run, shards)
    vote = NeighbourVote(**decided["vote"])
    return write_annotation(vectors, reference, keys, vote, job.output, overwrite=job.overwrite)


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


class _Referring:
    """Finds or makes the reference of a run, once: it is kept with the shards.

    Attributes
    ----------
    reference
        The reference, after `prepare`.
    keys
        Label of the reference → name of the result, after `prepare`.
    """

    reference: Reference
    keys: Mapping[str, str]

    def __init__(
        self,
        job: AnnotateJob,
        folder: Path,
        checkpoint: Checkpoint,
        options: ReadingOptions | None,
        settings: Mapping[str, Any],
    ) -> None:
        self.job, self.checkpoint, self.options = job, checkpoint, options
        self.settings = settings
        self.kept = reference_folder(folder)
        self.found = find_reference(job.references)

    def describe(self) -> VectorWork:
        """The run, as far as the reference decides it."""
        settings = dict(self.settings)
        if isinstance(self.found, Reference):
            settings["dtype"] = self.found.settle(settings.get("dtype", "auto"))
        job = self.job
        decides = {
            "references": [plain_file(each) for each in job.references],
            "labels": list(job.labels), "keys": list(job.keys),
            "unlabelled": list(job.unlabelled), "vote": asdict(job.vote),
        }  # fmt: skip
        return VectorWork(
            task="annotate", sources=job.queries, checkpoint=self.checkpoint, mode=job.mode,
            options=self.options, embedding=settings, decides=decides,
        )  # fmt: skip

    def prepare(self, embedder: AnyEmbedding, is_new: bool) -> None:
        """Make the reference, or open that which the run has kept."""
        job, found = self.job, self.found
        if isinstance(found, Reference):
            self.reference = found
        else:
            if is_new and self.kept.exists():
                shutil.rmtree(self.kept)
            if not self.kept.exists():
                self._build(found, embedder)
            self.reference = open_reference(self.kept)
        self.keys = name_keys(job.labels or tuple(self.reference.codes), job.keys)
        check_annotation(self.reference, embedder, self.keys, job.mode, job.vote)
        # One that goes on, and each share but the first, finds it there.
        if job.save_to is not None and (is_new or not self._is_saved(job.save_to)):
            save_reference(self.reference, job.save_to)

    def _is_saved(self, folder: Path) -> bool:
        if not is_saved_reference(folder):
            return False
        saved, own = open_reference(folder), self.reference
        return saved.classes == own.classes and dict(saved.provenance) == dict(own.provenance)

    def _build(self, sources: Sequence[Any], model: AnyEmbedding) -> None:
        """Embed the reference, here also where others embed the queries."""
        job = self.job
        embedder = model if isinstance(model, Embedder) else open_here(model)
        with opened_sources(sources, self.checkpoint.vocabulary, self.options) as opened:
            labels = read_labels(opened, job.labels, job.unlabelled)
            n_cells = sum(map(len, opened))
            with (
                vectors_beside(self.kept, (n_cells, embedder.d_model)) as vectors,
                show_progress(n_cells, "Embedding the reference") as progress,
            ):
                reference = index_cells(
                    opened, embedder, labels, vectors, mode=job.mode, progress=progress
                )
                save_reference(reference, self.kept)


def reference_folder(folder: Path) -> Path:
    """Where a run keeps its reference."""
    return folder / "reference"


def find_reference(
    given: Reference | Sources,
) -> Reference | Sequence[Any]:
    """A reference that is ready or saved; or else the sources to build one from."""
    if isinstance(given, Reference):
        return given
    sources = list_sources(given)
    saved = [each for each in sources if is_saved_reference(each)]
    if saved and len(sources) > 1:
        raise SettingsError(
            f"{len(sources)} references were given, and {saved[0]} is a saved one.",
            "One saved reference, or files of counts.",
            "Give the saved reference alone.",
        )
    return open_reference(saved[0]) if saved else sources


def name_keys(labels: Sequence[str], keys: Sequence[str] = ()) -> dict[str, str]:
    """Label → name of its result.

    Raises
    ------
    SettingsError
        If there are not as many names as labels, or obs cannot have one.
    """
    if keys and len(keys) != len(labels):
        raise SettingsError(
            f"{len(keys)} names were given for {len(labels)} labels.",
            "A name for each label, or none.",
            "Correct key_added (--key), or leave it out.",
        )
    names = dict(zip(labels, keys or [f"predicted_{each}" for each in labels], strict=True))
    for name in names.values():
        check_key(name, "obs", "predicted_cell_type")
    return names
