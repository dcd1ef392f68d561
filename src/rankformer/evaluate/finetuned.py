"""Evaluation of a fine-tuned model on the cells that it was not trained on."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.errors import CheckpointError, SettingsError
from rankformer.evaluate.cells import EvaluationCells, WhatToRead, gather_evaluation_cells
from rankformer.evaluate.expression_baselines import fit_baseline
from rankformer.finetuning.classifier_report import ClassifierEvaluation, evaluate_classifier
from rankformer.finetuning.result import PREDICTIONS_FILE, SPLIT_FILE
from rankformer.model.heads import Head
from rankformer.names import as_names
from rankformer.requirements import require_packages
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import Source


def evaluate_finetuned(
    source: Source,
    model: str | os.PathLike[str],
    *,
    label: str,
    ignored: str | Sequence[str] = (),
    options: ReadingOptions | None = None,
) -> ClassifierEvaluation:
    """Evaluate a fine-tuned model on its test part, beside logistic regression on log counts.

    The regression learns from the cells that the model was trained and validated on, so both know
    the same of the cells that they are tested on.

    Parameters
    ----------
    source
        The cells that the model was fine-tuned on.
    model
        The folder that `finetune` wrote.
    label
        One of its labels that are classes; a column of obs.
    ignored
        Labels whose cells are left out.
    options
        Where the counts lie, for the baseline.

    Returns
    -------
    The figures of the model, of the regression and of the largest class on the same cells.

    Raises
    ------
    CheckpointError
        If the folder is no fine-tuned model, or damaged.
    SettingsError
        If the model has no such label or no test part, or the cells are not those of its split.
    CountsError
        If there are no counts for the baseline.

    Examples
    --------
    >>> import rankformer
    >>> task = rankformer.CellTask("cell_type", group="donor")
    >>> tuned = rankformer.finetune("pbmc.h5ad", "my-model", "gf-12L-95M-i4096", task)
    >>> evaluation = rankformer.evaluate_finetuned("pbmc.h5ad", "my-model", label="cell_type")
    """
    require_packages("scanpy", "sklearn", "matplotlib", extra="evaluate")
    tuned = FineTunedModel.open(model)
    head = _find_head(tuned, label)
    split = _read_table(tuned.checkpoint.folder / SPLIT_FILE).set_index("cell")["part"]
    said = _read_table(tuned.checkpoint.folder / PREDICTIONS_FILE).set_index("cell")
    cells = gather_evaluation_cells(
        source, WhatToRead(label, ignored=as_names(ignored, "ignored")), options
    )
    parts = _parts_of(cells, split)
    columns = [f"predicted_{label}_probability_{each}" for each in head.classes]
    probabilities = said.reindex(cells.obs.index.astype(str))[columns].to_numpy(np.float64)
    is_test = (parts == "test") & ~np.isnan(probabilities[:, 0])
    is_known = np.isin(parts, ("train", "validation"))
    labels = np.array(cells.classes)[cells.codes]
    if not is_test.any():
        raise SettingsError(
            f"{model} has no test part among these cells.",
            "A model that was fine-tuned with a share to test on.",
            "Fine-tune with --test-share above 0; or evaluate what it says of other cells: "
            "`rankformer predict`, then `rankformer evaluate --predicted`.",
        )
    assert cells.counts is not None  # noqa: S101  # they were asked for
    baseline = fit_baseline(
        cells.counts[is_known], labels[is_known], cells.counts[is_test], classes=head.classes
    )
    own = probabilities[is_test]
    return evaluate_classifier(
        labels[is_test], own / own.sum(axis=1, keepdims=True), head.classes,
        baseline=baseline, name=tuned.checkpoint.name,
    )  # fmt: skip


def _find_head(tuned: FineTunedModel, label: str) -> Head:
    heads = {head.name: head for head in tuned.heads if head.classes and tuned.unit == "cell"}
    if label not in heads:
        raise SettingsError(
            f"{tuned.checkpoint.folder} gives cells no classes of {label!r}.",
            f"One of its labels: {', '.join(heads) or '(none)'}.",
            "Correct label (--label); scores of numbers and of genes are in the model's "
            "scores.json.",
        )
    return heads[label]


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} could not be read: {error}.",
            "The file that `rankformer finetune` wrote.",
            "Take the folder from where the model came from again.",
        ) from error


def _parts_of(cells: EvaluationCells, split: "pd.Series[str]") -> NDArray[np.object_]:
    """The part of each cell, None for one without a label; those that were split must be there."""
    names = cells.obs.index.astype(str)
    n_found = int(split.index.isin(names).sum())
    if n_found < len(split) or not names.is_unique or not split.index.is_unique:
        twice = "" if names.is_unique and split.index.is_unique else ", and names come twice"
        raise SettingsError(
            f"{n_found:,} of the {len(split):,} cells of the model's split are among the "
            f"{len(names):,} labelled cells of {cells.name}{twice}.",
            "The file that the model was fine-tuned on, whose cells have names of their own.",
            "For other cells: `rankformer predict`, then `rankformer evaluate --predicted`.",
        )
    return split.reindex(names).to_numpy(object)
