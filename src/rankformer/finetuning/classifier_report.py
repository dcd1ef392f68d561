"""Honest evaluation of a classifier: the same cells for it, a baseline and a constant guess."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.finetuning.calibration import bin_by_confidence, expected_calibration_error

logger = logging.getLogger(__name__)

LOGISTIC, MAJORITY = "logistic regression", "majority class"
_TOLERANCE = 1e-3
_ON_THE_MAJORITY = (
    "The majority class is the largest of the cells evaluated, and its share of them its "
    "probability: its calibration error is 0 for that reason."
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one method says of cells.

    Attributes
    ----------
    labels
        (n_cells,) the predicted label.
    confidence
        (n_cells,) the probability of that label, or None.
    probabilities
        (n_cells, n_classes), or None.
    classes
        Names of the columns of `probabilities`.
    uncertain
        (n_cells,) bool: predictions that the method does not stand by, or None.
    """

    labels: NDArray[np.str_]
    confidence: NDArray[np.float64] | None = None
    probabilities: NDArray[np.float64] | None = None
    classes: tuple[str, ...] = ()
    uncertain: NDArray[np.bool_] | None = None

    @classmethod
    def of_probabilities(
        cls,
        probabilities: NDArray[Any],
        classes: Sequence[str],
        uncertain: NDArray[np.bool_] | None = None,
    ) -> "Predictions":
        """The most probable class of each cell."""
        values = np.asarray(probabilities, dtype=np.float64)
        names = np.array(classes, dtype=str)
        return cls(
            names[values.argmax(axis=1)], values.max(axis=1), values, tuple(names), uncertain
        )

    def take(self, kept: NDArray[np.bool_]) -> "Predictions":
        """Those of some cells."""
        return Predictions(
            self.labels[kept],
            None if self.confidence is None else self.confidence[kept],
            None if self.probabilities is None else self.probabilities[kept],
            self.classes,
            None if self.uncertain is None else self.uncertain[kept],
        )


@dataclass(frozen=True, eq=False)
class ClassifierEvaluation:
    """What a classifier and baselines score on the same cells.

    Attributes
    ----------
    figures
        A row a figure, a column a method; NaN where a method gives no probabilities.
    per_class
        ``method``, ``class``, ``precision``, ``recall``, ``f1``, ``n_cells`` (of the class).
    confusion
        For each method: cells of a true label (rows) by predicted label. A label that is predicted
        and never true has a column.
    reliability
        For each method with probabilities: ``lowest``, ``highest``, ``n_cells``, ``confidence`` and
        ``accuracy`` (means) of each bin of confidence.
    roc
        For two classes, for each method with probabilities: ``false_positive_rate``,
        ``true_positive_rate``, ``threshold`` of the second class.
    classes
        True labels, sorted.
    n_cells
        Cells evaluated.
    left_out
        Cells left out of every figure, by reason.
    notes
        What a reader must know to judge the figures, in sentences.
    settings
        Plain values.
    """

    figures: pd.DataFrame
    per_class: pd.DataFrame
    confusion: Mapping[str, pd.DataFrame]
    reliability: Mapping[str, pd.DataFrame]
    roc: Mapping[str, pd.DataFrame]
    classes: tuple[str, ...]
    n_cells: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def evaluate_classifier(
    true: Sequence[str] | NDArray[Any],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    *,
    baseline: NDArray[Any] | None = None,
    uncertain: NDArray[Any] | None = None,
    name: str = "model",
    n_bins: int = 10,
) -> ClassifierEvaluation:
    """Evaluate the probabilities that a classifier gives to cells of known labels.

    Figures: ``accuracy``, ``balanced_accuracy`` (mean recall), ``macro_f1`` (mean over true
    labels), ``log_loss`` (nats), ``calibration_error`` (see `expected_calibration_error`),
    ``roc_auc`` (of the second class of two, or the mean of one against the rest of more), and of
    the cells that are not uncertain ``certain_share``, ``certain_accuracy``,
    ``certain_macro_f1``.

    Beside it always stands the largest class of these very cells, with the shares of the classes as
    its probabilities: no constant answer does better on them.

    Parameters
    ----------
    true
        (n_cells,) labels. Cells whose label is not among `classes` could not be right: they are
        left out of every figure, and how many is logged and kept.
    probabilities
        (n_cells, n_classes); rows sum to 1.
    classes
        Names of the columns.
    baseline
        Probabilities of a baseline on the same cells, such as `fit_baseline` gives.
    uncertain
        (n_cells,) bool: predictions that the classifier does not stand by.
    name
        Of the classifier, in tables and pictures.
    n_bins
        Bins of confidence for the calibration.

    Returns
    -------
    The figures of each method on the same cells.

    Raises
    ------
    SettingsError
        If the numbers of cells or classes differ, rows are no probabilities, or the cells evaluated
        are of fewer than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> import rankformer
    >>> truth = ["B", "B", "T", "T"]
    >>> probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    >>> evaluation = rankformer.evaluate_classifier(truth, probabilities, ["B", "T"])
    >>> evaluation.figures.loc["accuracy"].tolist()  # and of always the same class
    [0.75, 0.5]
    """
    names = tuple(map(str, classes))
    labels = np.asarray(true, dtype=str)
    given = {name: probabilities}
    if baseline is not None:
        given[LOGISTIC] = baseline
    for method, values in given.items():
        _check_probabilities(method, np.asarray(values), len(labels), names)
    mask = None if uncertain is None else np.asarray(uncertain, dtype=bool)
    methods = {
        method: Predictions.of_probabilities(values, names, mask if method == name else None)
        for method, values in given.items()
    }
    known = np.isin(labels, names)
    left_out = {"label unknown to the model": int((~known).sum())} if not known.all() else {}
    for reason, n_cells in left_out.items():
        logger.warning("%s of %s cells are left out of every figure: %s.",
                       f"{n_cells:,}", f"{len(labels):,}", reason)  # fmt: skip
    methods = {method: each.take(known) for method, each in methods.items()}
    notes = _note_unknown(labels, known, mask)
    return report_predictions(labels[known], methods, left_out=left_out, notes=notes, n_bins=n_bins)


def report_predictions(
    true: NDArray[np.str_],
    methods: Mapping[str, Predictions],
    *,
    left_out: Mapping[str, int] | None = None,
    notes: tuple[str, ...] = (),
    settings: Mapping[str, Any] | None = None,
    n_bins: int = 10,
) -> ClassifierEvaluation:
    """Evaluate what methods say of the same cells, and the largest class beside; see above.

    Parameters
    ----------
    true
        (n_cells,) labels.
    methods
        What each says of these cells, by its name.
    left_out, notes, settings
        To keep with the figures.
    n_bins
        Bins of confidence.
    """
    classes = tuple(map(str, np.unique(true)))
    if len(classes) < 2:
        raise SettingsError(
            f"{len(true):,} cells can be evaluated, with {len(classes)} class(es).",
            "At least two classes, so that there is something to tell apart.",
            "Evaluate cells of more labels.",
        )
    methods = {**methods, MAJORITY: _guess_largest(true, classes)}
    confident = {name: each for name, each in methods.items() if each.confidence is not None}
    return ClassifierEvaluation(
        figures=pd.DataFrame({name: _score(true, each, n_bins) for name, each in methods.items()}),
        per_class=pd.concat(
            [_tell_classes(name, true, each.labels, classes) for name, each in methods.items()],
            ignore_index=True,
        ),
        confusion={name: confuse(true, each.labels, classes) for name, each in methods.items()},
        reliability={
            name: bin_by_confidence(each.confidence, each.labels == true, n_bins)
            for name, each in confident.items()
            if each.confidence is not None
        },
        roc={
            name: _trace_roc(true, each, classes)
            for name, each in confident.items()
            if len(classes) == 2 and set(classes) <= set(each.classes)
        },
        classes=classes,
        n_cells=len(true),
        left_out=left_out or {},
        notes=(*notes, _ON_THE_MAJORITY),
        settings=settings or {},
    )


def confuse(
    true: NDArray[np.str_], predicted: NDArray[np.str_], classes: Sequence[str]
) -> pd.DataFrame:
    """Cells of each true label (rows) by predicted label; first the true labels, then others."""
    others = sorted(set(predicted) - set(classes))
    table = pd.crosstab(pd.Series(true, name="true"), pd.Series(predicted, name="predicted"))
    return table.reindex(index=list(classes), columns=[*classes, *others], fill_value=0)


def _score(true: NDArray[np.str_], given: Predictions, n_bins: int) -> dict[str, float]:
    scores = _score_labels(true, given.labels)
    right = given.labels == true
    if given.probabilities is not None:
        scores["log_loss"] = _log_loss(true, given)
    if given.confidence is not None:
        table = bin_by_confidence(given.confidence, right, n_bins)
        scores["calibration_error"] = expected_calibration_error(table)
    if given.probabilities is not None:
        scores["roc_auc"] = _roc_auc(true, given)
    if given.uncertain is not None:
        certain = ~given.uncertain
        scores["certain_share"] = float(certain.mean())
        of_certain = _score_labels(true[certain], given.labels[certain]) if certain.any() else {}
        for figure in ("accuracy", "macro_f1"):
            scores[f"certain_{figure}"] = of_certain.get(figure, float("nan"))
    return scores


def _score_labels(true: NDArray[np.str_], predicted: NDArray[np.str_]) -> dict[str, float]:
    from sklearn.metrics import f1_score, recall_score

    classes = np.unique(true)
    mean: dict[str, Any] = {"labels": classes, "average": "macro", "zero_division": 0}
    return {
        "accuracy": float((true == predicted).mean()),
        "balanced_accuracy": float(recall_score(true, predicted, **mean)),
        "macro_f1": float(f1_score(true, predicted, **mean)),
    }


def _log_loss(true: NDArray[np.str_], given: Predictions) -> float:
    """Mean of -ln of the true label's probability, at least the least float32; NaN without one."""
    assert given.probabilities is not None  # noqa: S101
    place = {name: column for column, name in enumerate(given.classes)}
    if not set(true) <= place.keys():
        return float("nan")
    columns = [place[each] for each in true]
    values = given.probabilities[np.arange(len(true)), columns]
    return float(-np.log(np.maximum(values, np.finfo(np.float32).tiny)).mean())


def _roc_auc(true: NDArray[np.str_], given: Predictions) -> float:
    """Of the second class of two; of more, the mean of each true class against the rest."""
    from sklearn.metrics import roc_auc_score

    assert given.probabilities is not None  # noqa: S101
    classes = [str(each) for each in np.unique(true)]
    judged = classes[1:] if len(classes) == 2 else classes
    columns = {name: column for column, name in enumerate(given.classes)}
    values = [
        roc_auc_score(true == each, given.probabilities[:, columns[each]])
        for each in judged
        if each in columns
    ]
    return float(np.mean(values)) if len(values) == len(judged) else float("nan")


def _trace_roc(
    true: NDArray[np.str_], given: Predictions, classes: tuple[str, ...]
) -> pd.DataFrame:
    from sklearn.metrics import roc_curve

    assert given.probabilities is not None  # noqa: S101
    scores = given.probabilities[:, given.classes.index(classes[1])]
    false_positive, true_positive, thresholds = roc_curve(true == classes[1], scores)
    return pd.DataFrame(
        {
            "false_positive_rate": false_positive,
            "true_positive_rate": true_positive,
            "threshold": thresholds,
        }
    )


def _tell_classes(
    method: str, true: NDArray[np.str_], predicted: NDArray[np.str_], classes: tuple[str, ...]
) -> pd.DataFrame:
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, n_cells = precision_recall_fscore_support(
        true, predicted, labels=list(classes), zero_division=0
    )
    return pd.DataFrame(
        {
            "method": method, "class": classes, "precision": precision, "recall": recall, "f1": f1,
            # scikit-learn counts in floats where no prediction is right.
            "n_cells": n_cells.astype(np.int64),
        }
    )  # fmt: skip


def _guess_largest(true: NDArray[np.str_], classes: tuple[str, ...]) -> Predictions:
    shares = np.array([(true == each).mean() for each in classes])
    return Predictions.of_probabilities(np.tile(shares, (len(true), 1)), classes)


def _note_unknown(
    labels: NDArray[np.str_], known: NDArray[np.bool_], uncertain: NDArray[np.bool_] | None
) -> tuple[str, ...]:
    if known.all():
        return ()
    names = ", ".join(sorted(set(labels[~known])))
    note = f"{int((~known).sum()):,} cells have labels that the model does not know ({names})"
    if uncertain is None:
        return (f"{note}.",)
    return (f"{note}; {uncertain[~known].mean():.0%} of them were marked uncertain.",)


def _check_probabilities(
    method: str, values: NDArray[Any], n_cells: int, classes: tuple[str, ...]
) -> None:
    if values.shape != (n_cells, len(classes)) or len(set(classes)) < len(classes):
        raise SettingsError(
            f"The probabilities of {method} have the shape {values.shape}, for {n_cells:,} labels "
            f"and {len(set(classes))} different classes.",
            "A row a cell, and a column for each class, each named once.",
            "Pass the labels of the cells that were predicted, and the classes in their order.",
        )
    sums = values.sum(axis=1)
    if not (np.isfinite(values).all() and (values >= 0).all() and
            (np.abs(sums - 1) <= _TOLERANCE).all()):  # fmt: skip
        raise SettingsError(
            f"The probabilities of {method} are from {np.min(values):.3g} to {np.max(values):.3g}, "
            f"with sums from {sums.min():.3g} to {sums.max():.3g} a cell.",
            "Values from 0 to 1 that sum to 1 for each cell.",
            "Pass probabilities, not scores: softmax them first.",
        )
