"""Evaluation of labels that were predicted earlier and lie in obs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.cells.obs_columns import read_class_names
from rankformer.errors import SettingsError
from rankformer.evaluate.cells import (
    EvaluationCells,
    WhatToRead,
    gather_evaluation_cells,
    list_names,
)
from rankformer.evaluate.expression_baselines import fit_baseline
from rankformer.evaluate.folds import draw_folds
from rankformer.finetuning.classifier_report import (
    LOGISTIC,
    ClassifierEvaluation,
    Predictions,
    report_predictions,
)
from rankformer.names import as_names
from rankformer.requirements import require_packages
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import Source

PROBABILITY, UNCERTAIN = "_probability", "_uncertain"


# Longer than 80 lines: its docstring is the manual of the evaluation.
def evaluate_predictions(
    source: Source,
    predicted: str,
    *,
    label: str,
    group: str | None = None,
    ignored: str | Sequence[str] = (),
    baseline: bool = True,
    n_folds: int = 5,
    options: ReadingOptions | None = None,
) -> ClassifierEvaluation:
    """Evaluate the labels in ``obs[predicted]`` against those in ``obs[label]``.

    Where they are there, ``obs[predicted + "_probability"]`` (of the predicted label, 0 to 1) gives
    the calibration, the probabilities of all classes that ``rankformer predict`` writes (see
    `read_class_probabilities`) log loss and ROC, and ``obs[predicted + "_uncertain"]`` (true or
    false) the figures of the cells that the method stands by. A predicted label that is never true,
    such as ``"unknown"``, counts as wrong.

    Parameters
    ----------
    source
        AnnData, ``.h5ad`` or ``.zarr``.
    predicted, label
        Columns of obs.
    group
        Column of obs, such as the donor, of which no value is both trained on and tested by the
        baseline. Labels that lie in one group alone are then left out for all methods alike.
    ignored
        Labels whose cells are left out.
    baseline
        Also fit logistic regression on log counts to the other folds of these cells. It learns from
        cells of the same study, which a method with another reference does not: where the two
        are near, that is to the method's credit.
    n_folds
        Folds of the baseline, or as many as groups where these are fewer.
    options
        Where the counts lie, for the baseline.

    Returns
    -------
    The figures of the predictions, of the baseline and of the largest class on the same cells:
    those that have a true and a predicted label.

    Raises
    ------
    SettingsError
        If columns are missing or do not hold what they should.
    CountsError
        If there are no counts for the baseline.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> adata.obs["called"] = adata.obs["cell_type"]
    >>> evaluation = rankformer.evaluate_predictions(
    ...     adata, "called", label="cell_type", group="donor", n_folds=3
    ... )
    """
    require_packages("scanpy", "sklearn", "matplotlib", extra="evaluate")
    ignored = as_names(ignored, "ignored")
    what = WhatToRead(
        label, group=group if baseline else None, predicted=predicted, ignored=ignored,
        counts=baseline,
    )  # fmt: skip
    cells = gather_evaluation_cells(source, what, options)
    true = np.array(cells.classes)[cells.codes]
    methods = {predicted: _read_predictions(cells, predicted)}
    _check_overlap(cells.classes, methods[predicted].labels, label, predicted)
    notes: tuple[str, ...] = ()
    if baseline:
        methods[LOGISTIC] = _predict_by_baseline(cells, label, n_folds)
        notes = (_note_baseline(group),)
    settings = {
        "label": label, "predicted": predicted, "group": group, "ignored": list(ignored),
        "folds": n_folds if baseline else None,
    }  # fmt: skip
    return report_predictions(
        true, methods, left_out=cells.left_out, notes=notes, settings=settings
    )


def _read_predictions(cells: EvaluationCells, predicted: str) -> Predictions:
    obs = cells.obs
    confidence = uncertain = None
    if predicted + PROBABILITY in obs:
        confidence = _read_confidence(obs[predicted + PROBABILITY], cells.name)
    if predicted + UNCERTAIN in obs:
        uncertain = _read_marks(obs[predicted + UNCERTAIN], cells.name)
    labels = read_class_names(
        obs[predicted], f"obs[{predicted!r}] of {cells.name}",
        fix="Name another column (--predicted).",
    ).astype(str)  # fmt: skip
    if cells.probabilities is None:
        return Predictions(labels, confidence, uncertain=uncertain)
    classes, probabilities = cells.probabilities
    if confidence is None:
        confidence = probabilities.max(axis=1).astype(np.float64)
    return Predictions(labels, confidence, probabilities.astype(np.float64), classes, uncertain)


def _check_overlap(
    classes: Sequence[str], said: NDArray[np.str_], label: str, predicted: str
) -> None:
    """Refuse predictions of which none can be right, as the names are others."""
    own = sorted(set(said.tolist()))
    if set(own).isdisjoint(classes):
        raise SettingsError(
            f"No label in obs[{predicted!r}] is one of obs[{label!r}]: the predicted ones are "
            f"{list_names(own)}; the true ones {list_names(classes)}.",
            "The same names for the same kinds of cells in both columns.",
            f"Rename the labels of one of them, such as adata.obs[{predicted!r}].replace({{…}}), "
            "or name other columns (--predicted, --label).",
        )


def _read_confidence(column: "pd.Series[Any]", name: str) -> NDArray[np.float64]:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    # float32 of a sum of shares may end in a digit above 1.
    if not ((values >= 0) & (values <= 1 + 1e-6)).all():
        raise SettingsError(
            f"obs[{column.name!r}] of {name} holds values that are not from 0 to 1, or none.",
            "The probability of the predicted label, for each cell that has one.",
            "Correct the column, or rename it to have it left aside.",
        )
    return np.asarray(np.minimum(values, 1))


def _read_marks(column: "pd.Series[Any]", name: str) -> NDArray[np.bool_]:
    marks = column.astype(str).str.casefold().map({"true": True, "false": False, "1": True,
                                                   "0": False})  # fmt: skip
    if marks.isna().any():
        raise SettingsError(
            f"obs[{column.name!r}] of {name} holds {column[marks.isna()].iloc[0]!r}.",
            "True or false for each cell.",
            "Correct the column, or rename it to have it left aside.",
        )
    return marks.to_numpy(dtype=bool)


def _predict_by_baseline(cells: EvaluationCells, label: str, n_folds: int) -> Predictions:
    assert cells.counts is not None  # noqa: S101  # they were asked for
    folds = draw_folds(cells.codes, cells.groups, n_folds=n_folds, n_seeds=1, label=label)
    labels = np.array(cells.classes)[cells.codes]
    probabilities = np.zeros((len(cells), len(cells.classes)))
    for train, test in folds.draws[0]:
        probabilities[test] = fit_baseline(
            cells.counts[train], labels[train], cells.counts[test], classes=cells.classes
        )
    return Predictions.of_probabilities(probabilities, cells.classes)


def _note_baseline(group: str | None) -> str:
    how = f"cells of another {group}" if group else "other cells, of any donor"
    return f"The logistic regression was trained on {how} in the same file, with their labels."
