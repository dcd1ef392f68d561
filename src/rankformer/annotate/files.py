"""Annotation of files: counts and a reference in, labels out."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.reference import Reference, index_cells, read_labels
from rankformer.annotate.reference_files import is_saved_reference, open_reference, save_reference
from rankformer.annotate.settings import AnnotateJob
from rankformer.annotate.vote import check_annotation, transfer_labels
from rankformer.cells.open_sources import list_sources
from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.cells import describe_run, fill_vectors, tell_missing
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.progress import show_progress
from rankformer.results.cell_embeddings import vectors_beside
from rankformer.results.cell_labels import LabelledCells, write_cell_labels
from rankformer.results.messages import label_figures, label_lines, written_labels
from rankformer.results.output_checks import LABEL_FORMATS, check_cell_target, check_key
from rankformer.scratch import check_free
from rankformer.summary import Summary, Written
from rankformer.tokens.joined_sources import (
    check_inputs_stay,
    file_to_copy,
    join_obs,
    name_sources,
)
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenSource
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
    output = check_cell_target(job.output, job.overwrite, LABEL_FORMATS)
    if job.save_to is not None:
        check_free(job.save_to)
    checkpoint = Checkpoint.open(model)
    with ExitStack() as stack:
        queries = _open(stack, job.queries, checkpoint, options)
        check_inputs_stay(output, queries)
        found = find_reference(job.references)
        if isinstance(found, Reference):
            keys = name_keys(job.labels or tuple(found.codes), job.keys)
            dtype = found.settle(settings.get("dtype", "auto"))
            embedder = Embedder(checkpoint, **{**settings, "dtype": dtype})
            reference = found
        else:
            sources = _open(stack, found, checkpoint, options)
            labels = read_labels(sources, job.labels, job.unlabelled)
            keys = name_keys(job.labels, job.keys)
            embedder = Embedder(checkpoint, **settings)
            reference = _index(stack, job, sources, labels, embedder)
        check_annotation(reference, embedder, keys, job.mode, job.vote)
        if job.save_to is not None:
            save_reference(reference, job.save_to)
        return _annotate(job, queries, embedder, reference, keys)


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


def _open(
    stack: ExitStack,
    sources: Sequence[Any],
    checkpoint: Checkpoint,
    options: ReadingOptions | None,
) -> list[TokenSource]:
    return stack.enter_context(opened_sources(sources, checkpoint.vocabulary, options))


def _index(
    stack: ExitStack,
    job: AnnotateJob,
    sources: Sequence[TokenSource],
    labels: Mapping[str, NDArray[np.object_]],
    embedder: Embedder,
) -> Reference:
    """A reference whose vectors lie on the disk beside the output, until `stack` is closed."""
    n_cells = sum(map(len, sources))
    vectors = stack.enter_context(vectors_beside(job.output, (n_cells, embedder.d_model)))
    with show_progress(n_cells, "Embedding the reference") as progress:
        return index_cells(sources, embedder, labels, vectors, mode=job.mode, progress=progress)


def _annotate(
    job: AnnotateJob,
    queries: Sequence[TokenSource],
    embedder: Embedder,
    reference: Reference,
    keys: Mapping[str, str],
) -> Summary:
    n_cells = sum(map(len, queries))
    with vectors_beside(job.output, (n_cells, embedder.d_model)) as vectors:
        with show_progress(n_cells, "Embedding cells") as progress:
            missing = fill_vectors(vectors, queries, embedder, mode=job.mode, progress=progress)
        tell_missing(missing)
        labels = transfer_labels(vectors, missing, reference, keys, job.vote)
    sources = name_sources(queries)
    provenance = describe_run(embedder, job.mode, queries)
    cells = LabelledCells(labels, missing, join_obs(queries, sources), provenance, sources)
    write_cell_labels(
        job.output, cells, copy_of=file_to_copy(job.output, queries), overwrite=job.overwrite
    )
    written = [written_labels(job.output, labels)]
    if job.save_to is not None:
        written.append(Written(job.save_to, "the embedded reference, to be used again"))
    figures = {"n_cells": n_cells, "model": embedder.checkpoint.name, **label_figures(labels)}
    return Summary(tuple(written), figures, told=label_lines(labels), sources=queries)
