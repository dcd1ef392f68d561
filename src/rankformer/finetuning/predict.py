"""Predictions of a fine-tuned model: for each cell, or for each gene of many cells."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.embed.cells import describe_run, fill_vectors, tell_missing
from rankformer.embed.embedder import Embedder
from rankformer.embed.vector_runs import RunVectors, VectorWork, merged_vectors, vector_run
from rankformer.errors import OutputError, SettingsError, expect_type
from rankformer.finetuning.head_outputs import NamedOutputs, gene_outputs, scale_numbers
from rankformer.finetuning.settings import PredictJob
from rankformer.model.heads import Head
from rankformer.progress import Progress, show_progress
from rankformer.read_ahead import read_ahead
from rankformer.results.cell_labels import CellLabels, LabelledCells, write_cell_labels
from rankformer.results.csv_tables import write_csv
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
from rankformer.runs.run import Run, remove_run
from rankformer.runs.settings import MergeJob
from rankformer.runs.shards import Shard
from rankformer.runs.targets import check_run_target
from rankformer.runs.told import run_summary
from rankformer.scratch import whole_or_nothing
from rankformer.summary import Summary, Written
from rankformer.tokens.joined_sources import check_inputs_stay, file_to_copy
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
    if tuned.unit == "cell":
        return _predict_cells(job, tuned, options, settings)
    output = check_target(job.output, GENE_FORMATS, job.overwrite)
    with opened_sources(job.sources, tuned.checkpoint.vocabulary, options) as streams:
        check_inputs_stay(output, streams)
        return _predict_genes(job, tuned, Embedder(tuned.checkpoint, **settings), streams)


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
    job: PredictJob,
    tuned: FineTunedModel,
    options: ReadingOptions | None,
    settings: Mapping[str, Any],
) -> Summary:
    work = VectorWork(
        task="predict", sources=job.sources, checkpoint=tuned.checkpoint, mode=tuned.mode,
        options=options, embedding=settings,
        decides={
            "prefix": job.prefix, "threshold": float(job.threshold), "heads": describe_heads(tuned),
        },
        notes={"folder": str(tuned.checkpoint.folder.resolve())},
    )  # fmt: skip
    target = check_run_target(job.output, job.run, LABEL_FORMATS, overwrite=job.overwrite)
    with vector_run(target.folder, work, job.run, keep_open=not target.is_folder) as under_way:
        streams = under_way.inputs.streams
        if not target.is_folder:
            check_inputs_stay(job.output, streams)
        shards = under_way.compute()
        if target.is_folder or under_way.inputs.failures:
            return run_summary(under_way.run, shards, under_way.inputs, {})
        summary = write_predictions(under_way.vectors, tuned, job.output, overwrite=job.overwrite)
        remove_run(under_way.run)
    return replace(summary, sources=streams)


def write_predictions(
    vectors: RunVectors, model: FineTunedModel, output: Path, *, overwrite: bool
) -> Summary:
    """Write what the heads of a model say of the embeddings of a run that is done.

    Parameters
    ----------
    vectors
        Of all cells; the run knows prefix and threshold.
    model
        That the run was of.
    output, overwrite
        As in `PredictJob`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    decided = vectors.run.manifest.work.options
    missing, sources = vectors.missing(), vectors.sources()
    labels = label_vectors(vectors.values, model, decided["prefix"], decided["threshold"])
    obs = vectors.obs(sources)
    cells = LabelledCells(labels, missing, obs, vectors.provenance(), sources)
    copied = file_to_copy(output, vectors.cells)
    write_cell_labels(output, cells, copy_of=copied, overwrite=overwrite)
    figures = {"n_cells": len(missing), **label_figures(labels)}
    return Summary((written_labels(output, labels),), figures, told=label_lines(labels))


def merge_predictions(run: Run, shards: Sequence[Shard], job: MergeJob) -> Summary:
    """Write the predictions for shards that are done; see `merge_run`.

    Raises
    ------
    OutputError
        If the model is not that of the run.
    """
    check_cell_target(job.output, job.overwrite, LABEL_FORMATS)
    folder = run.manifest.notes["folder"]
    model = FineTunedModel.open(folder)
    if describe_heads(model) != run.manifest.work.options["heads"]:
        raise OutputError(
            f"The model in {folder} is another than that of the run.",
            "The model as it was, whose heads name the cells.",
            "Put it back, or begin the run anew with --restart.",
        )
    vectors = merged_vectors(run, shards)
    return write_predictions(vectors, model, job.output, overwrite=job.overwrite)


def describe_heads(model: FineTunedModel) -> dict[str, Any]:
    """What identifies what was learned, beside the encoder: names, classes, and hashes of heads."""
    heads = {head.name: list(head.classes) for head in model.heads}
    return {"classes": heads, "weights_sha256": _hash_of_heads(model)}


def _hash_of_heads(model: FineTunedModel) -> str:
    digest = hashlib.sha256()
    for module in model.modules:
        for name, values in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(values.float().cpu().numpy()).tobytes())
    return digest.hexdigest()


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
            write_csv(table, part)
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
