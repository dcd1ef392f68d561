"""Predictions of a fine-tuned model: for each cell, or for each gene of many cells."""

import os
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.embed.cells import describe_run, fill_vectors, tell_missing
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError, expect_type
from rankformer.finetuning.head_outputs import NamedOutputs, gene_outputs, scale_numbers
from rankformer.finetuning.settings import PredictJob
from rankformer.model.heads import Head
from rankformer.progress import Progress, show_progress
from rankformer.read_ahead import read_ahead
from rankformer.results.cell_embeddings import vectors_beside
from rankformer.results.cell_labels import CellLabels, LabelledCells, write_cell_labels
from rankformer.results.messages import (
    count_labels,
    count_table,
    label_figures,
    label_lines,
    written_labels,
)
from rankformer.results.output_checks import (
    LABEL_FORMATS,
    check_cell_target,
    check_key,
    check_target,
)
from rankformer.scratch import whole_or_nothing
from rankformer.summary import Summary, Written
from rankformer.tokens.joined_sources import (
    check_inputs_stay,
    file_to_copy,
    join_obs,
    name_sources,
)
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import open_tokens, opened_sources

if TYPE_CHECKING:
    from anndata import AnnData

GENE_FORMATS = (".csv", ".parquet")
_CELLS_AT_ONCE = 8192


def predict_files(
    job: PredictJob,
    model: str | os.PathLike[str],
    options: ReadingOptions | None = None,
    **settings: Any,
) -> Summary:
    """Predict labels of the cells, or genes, of files into one output: whole, or not at all.

    Parameters
    ----------
    job
        Inputs and output.
    model
        The folder of a fine-tuned model.
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
    tuned = FineTunedModel.open(model)
    _check_threshold(job.threshold)
    check_prefix(job.prefix)
    for head in tuned.heads:
        check_key(job.prefix + head.name, "obs", "predicted_cell_type")
    if tuned.unit == "gene":
        output = check_target(job.output, GENE_FORMATS, job.overwrite)
    else:
        output = check_cell_target(job.output, job.overwrite, LABEL_FORMATS)
    with opened_sources(job.sources, tuned.checkpoint.vocabulary, options) as streams:
        check_inputs_stay(output, streams)
        embedder = Embedder(tuned.checkpoint, **settings)
        if tuned.unit == "gene":
            return _predict_genes(job, tuned, embedder, streams)
        return _predict_cells(job, tuned, embedder, streams)


def predict_in_memory(
    adata: "AnnData",
    model: FineTunedModel,
    embedder: Embedder,
    *,
    prefix: str,
    threshold: float,
    options: ReadingOptions | None = None,
    progress: Progress | None = None,
) -> LabelledCells:
    """Predict labels of the cells of AnnData.

    Parameters
    ----------
    adata
        Cells by genes, with counts.
    model, embedder
        A fine-tuned model of cells, and the embedder of its checkpoint.
    prefix, threshold
        As in `PredictJob`.
    options, progress
        How to read, and what is told of each batch.

    Raises
    ------
    RankformerError
        If counts, genes and model do not go together.
    """
    _check_threshold(threshold)
    if model.unit == "gene":
        raise SettingsError(
            "The model predicts labels of genes, not of cells.",
            "A model that was fine-tuned on labels of cells.",
            "Use `rankformer predict FILE --model MODEL -o genes.csv`.",
        )
    with closing(open_tokens(adata, model.checkpoint.vocabulary, options)) as stream:
        vectors = np.empty((len(stream), embedder.d_model), np.float32)
        missing = fill_vectors(vectors, [stream], embedder, mode=model.mode, progress=progress)
        tell_missing(missing)
        provenance = describe_run(embedder, model.mode, [stream])
        labels = label_vectors(vectors, model, prefix, threshold)
        return LabelledCells(labels, missing, stream.obs, provenance)


def label_vectors(
    vectors: NDArray[np.float32], model: FineTunedModel, prefix: str, threshold: float
) -> dict[str, CellLabels]:
    """What each head says of vectors: prefix and name of the head → labels or numbers.

    Parameters
    ----------
    vectors
        (n_cells, d_model) float32, NaN for a cell without an embedding.
    model
        Gives the heads.
    prefix, threshold
        As in `PredictJob`.
    """
    outputs: list[list[NDArray[np.float32]]] = [[] for _ in model.heads]
    for start in range(0, max(len(vectors), 1), _CELLS_AT_ONCE):
        block = np.asarray(vectors[start : start + _CELLS_AT_ONCE])
        for parts, output in zip(outputs, model.outputs(block), strict=True):
            parts.append(output)
    return {
        prefix + head.name: _read_output(head, np.concatenate(parts), threshold)
        for head, parts in zip(model.heads, outputs, strict=True)
    }


def _read_output(head: Head, output: NDArray[Any], threshold: float) -> CellLabels:
    if not head.classes:
        return CellLabels(scale_numbers(head, output))
    named = NamedOutputs.of(head, output)
    return CellLabels(
        values=named.names,
        probability=named.probability,
        uncertain=named.probability < threshold,
        classes=head.classes,
        class_probabilities=named.probabilities,
        provenance={"threshold": threshold, "temperature": head.temperature},
    )


def _predict_cells(
    job: PredictJob, model: FineTunedModel, embedder: Embedder, streams: Sequence[TokenSource]
) -> Summary:
    n_cells = sum(map(len, streams))
    with vectors_beside(job.output, (n_cells, embedder.d_model)) as vectors:
        with show_progress(n_cells, "Predicting labels of cells") as progress:
            missing = fill_vectors(vectors, streams, embedder, mode=model.mode, progress=progress)
        tell_missing(missing)
        labels = label_vectors(vectors, model, job.prefix, job.threshold)
    sources = name_sources(streams)
    cells = LabelledCells(
        labels, missing, join_obs(streams, sources),
        describe_run(embedder, model.mode, streams), sources,
    )  # fmt: skip
    copied = file_to_copy(job.output, streams)
    write_cell_labels(job.output, cells, copy_of=copied, overwrite=job.overwrite)
    figures = {"n_cells": n_cells, **label_figures(labels)}
    return Summary(
        (written_labels(job.output, labels),), figures, told=label_lines(labels), sources=streams
    )


def _predict_genes(
    job: PredictJob, model: FineTunedModel, embedder: Embedder, streams: Sequence[TokenSource]
) -> Summary:
    (head,), (module,) = model.heads, model.modules
    vocabulary = model.checkpoint.vocabulary
    with show_progress(sum(map(len, streams)), "Predicting labels of genes") as progress:
        blocks = (ragged for stream in streams for ragged in _blocks(stream, progress))
        means, n_cells = gene_outputs(embedder, module, blocks, head.n_outputs)
    tokens = np.flatnonzero(n_cells)
    labels = _read_output(head, means[tokens], job.threshold)
    ids, key = vocabulary.ensembl_id_of[tokens], job.prefix + head.name
    shares = labels.class_probabilities
    table = pd.DataFrame(
        {
            "ensembl_id": ids,
            "symbol": [vocabulary.symbol_of.get(each) for each in ids],
            "n_cells": n_cells[tokens],
            key: labels.values,  # noqa: PD011
            f"{key}_probability": labels.probability,
            f"{key}_uncertain": labels.uncertain,
            **({} if shares is None else {
                f"{key}_probability_{name}": share
                for name, share in zip(labels.classes, shares.T, strict=True)
            }),
        }
    )  # fmt: skip
    with whole_or_nothing(job.output, overwrite=job.overwrite) as part:
        if job.output.suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
    written = Written(job.output, f"{key} of {len(tokens):,} genes")
    figures: dict[str, Any] = {"n_genes": len(tokens)}
    told: tuple[str, ...] = ()
    if head.classes:
        figures[key] = count_labels(labels.values)  # of CellLabels
        told = (f"{key}\n{count_table(labels.values)}",)  # of CellLabels
    return Summary((written,), figures, told=told, sources=streams)


def _blocks(stream: TokenSource, progress: Progress) -> Any:
    with read_ahead(stream.parts()) as parts:
        for part in parts:
            yield part.cells.ragged(0, len(part.rows))
            progress(len(part.rows))


def check_prefix(prefix: str) -> None:
    """Refuse an empty prefix, with which predictions would replace the labels themselves."""
    if not prefix:
        raise SettingsError(
            "The prefix is empty.",
            "Some text before the label's name, so that labels in obs are not replaced.",
            "Leave prefix (--prefix) out for predicted_.",
        )


def _check_threshold(threshold: float) -> None:
    expected = "A probability from 0 to 1, below which a prediction is marked as uncertain."
    fix = "Correct threshold (--threshold)."
    expect_type(threshold, (int, float), "threshold", expected, fix)
    if not 0 <= threshold <= 1:
        raise SettingsError(f"The threshold is {threshold}.", expected, fix)
