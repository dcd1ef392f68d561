"""What embeddings score, gathered method after method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.evaluate.batch_mixing import score_batch_mixing
from rankformer.evaluate.cells import EvaluationCells
from rankformer.evaluate.embedding_metrics import (
    LINEAR,
    PROBES,
    Space,
    draws_rows,
    macro_f1,
    predict_held_out,
    predict_majority,
    score_clusters,
    score_silhouettes,
)
from rankformer.evaluate.folds import Folds
from rankformer.evaluate.integration import score_by_scib
from rankformer.evaluate.intervals import macro_f1_interval

MAJORITY = "majority class"
WHOLE = "all"


@dataclass(frozen=True, eq=False)
class EmbeddingEvaluation:
    """What embeddings and baselines score on the same cells.

    Attributes
    ----------
    scores
        Tidy: ``method``, ``figure``, ``seed`` (<NA> where nothing is random), ``fold`` (``"all"``:
        over all cells, each tested once; else the group or number of one fold) and ``value``.
    per_class
        ``method``, ``probe``, ``class``, ``precision``, ``recall``, ``f1``, ``n_cells``: means over
        seeds.
    intervals
        ``method``, ``figure``, ``low``, ``high``: 95 % intervals of what probes score; see
        `macro_f1_interval`.
    confusion
        For each method, of the linear probe: true (rows) by predicted class, mean over seeds of
        the number of cells.
    n_cells
        Cells evaluated.
    left_out
        Cells left out of every figure, by reason.
    notes
        What a reader must know to judge the figures, in sentences.
    settings
        Columns, folds, seeds and versions; plain values.
    """

    scores: pd.DataFrame
    per_class: pd.DataFrame
    intervals: pd.DataFrame
    confusion: Mapping[str, pd.DataFrame]
    n_cells: int
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    settings: Mapping[str, Any]

    def summary(self) -> pd.DataFrame:
        """``mean``, ``spread`` (standard deviation over seeds), ``lowest_fold``, ``low``, ``high``.

        Returns
        -------
        A row for each method and figure, in the order of `scores`. The spread is NaN where there
        is one value; the lowest fold is the mean over seeds of the least value of a fold, NaN for
        figures that have no folds. The last two are the bounds of the 95 % interval of what probes
        score, over groups, or cells where no group was given; NaN for other figures.
        """
        whole = self.scores[self.scores["fold"] == WHOLE]
        by = ["method", "figure"]
        values = whole.groupby(by, sort=False)["value"]
        table = pd.DataFrame({"mean": values.mean(), "spread": values.std()})
        folds = self.scores[self.scores["fold"] != WHOLE]
        lowest = folds.groupby([*by, "seed"], sort=False, dropna=False)["value"].min()
        table["lowest_fold"] = lowest.groupby(by, sort=False).mean()
        return table.join(self.intervals.set_index(by))


class EmbeddingScores:
    """Gathers the scores of each method on the same cells and folds.

    Parameters
    ----------
    cells
        The cells.
    folds
        The draws of folds that every probe is trained and tested on.
    n_seeds
        Beginnings of clusters, and draws of cells where silhouettes are of some.
    """

    def __init__(self, cells: EvaluationCells, folds: Folds, n_seeds: int) -> None:
        self._cells, self._folds, self._n_seeds = cells, folds, n_seeds
        self._batches = None if cells.batches is None else pd.factorize(cells.batches)[0]
        self._scores: list[dict[str, Any]] = []
        self._per_class: list[pd.DataFrame] = []
        self._intervals: list[dict[str, Any]] = []
        self._confusion: dict[str, pd.DataFrame] = {}

    def add(self, method: str, space: Space) -> None:
        """Score the vectors of a method."""
        draws = [predict_held_out(space, self._cells.codes, each) for each in self._folds.draws]
        for probe in PROBES:
            self._add_predicted(method, probe, [each[probe] for each in draws])
        vectors = space.whole()
        for seed in range(self._n_seeds):
            self._put(method, score_clusters(vectors, self._cells.codes, seed), seed)
        self._add_silhouettes(method, vectors)
        if self._batches is not None:
            mixing = score_batch_mixing(vectors, self._cells.codes, self._batches)
            self._put(method, {"batch_mixing": mixing})
            self._put(method, score_by_scib(vectors, self._cells.codes, self._batches))

    def add_majority(self) -> None:
        """Score the largest class of the training cells."""
        codes = self._cells.codes
        draws = [predict_majority(codes, each) for each in self._folds.draws]
        for probe in PROBES:
            self._add_predicted(MAJORITY, probe, draws)
        # All cells in one cluster agree with no label.
        self._put(MAJORITY, {"ari": 0.0, "nmi": 0.0})

    def result(self, settings: Mapping[str, Any], notes: tuple[str, ...]) -> EmbeddingEvaluation:
        """All that was gathered."""
        scores = pd.DataFrame(self._scores).astype({"seed": "Int64"})
        per_class = pd.concat(self._per_class, ignore_index=True)
        intervals = pd.DataFrame(self._intervals)
        return EmbeddingEvaluation(
            scores, per_class, intervals, self._confusion, len(self._cells), self._cells.left_out,
            notes, settings,
        )  # fmt: skip

    def _add_silhouettes(self, method: str, vectors: NDArray[np.float32]) -> None:
        drawn = draws_rows(len(vectors))
        for seed in range(self._n_seeds if drawn else 1):
            scores = score_silhouettes(vectors, self._cells.codes, self._batches, seed)
            self._put(method, scores, seed if drawn else None)

    def _add_predicted(self, method: str, probe: str, draws: Sequence[NDArray[np.int64]]) -> None:
        codes, figure = self._cells.codes, f"{probe}_macro_f1"
        for seed, predicted in enumerate(draws):
            shown = seed if len(draws) > 1 else None
            self._put(method, {figure: macro_f1(codes, predicted)}, shown)
            named = zip(self._folds.names[seed], self._folds.draws[seed], strict=True)
            for name, (_, test) in named:
                self._put(method, {figure: macro_f1(codes[test], predicted[test])}, shown, name)
        low, high = macro_f1_interval(codes, draws, self._cells.groups)
        self._intervals.append({"method": method, "figure": figure, "low": low, "high": high})
        self._per_class.append(self._tell_classes(method, probe, draws))
        if probe == LINEAR:
            self._confusion[method] = self._confuse(draws)

    def _put(
        self, method: str, scores: Mapping[str, float], seed: int | None = None, fold: str = WHOLE
    ) -> None:
        self._scores += [
            {"method": method, "figure": figure, "seed": seed, "fold": fold, "value": value}
            for figure, value in scores.items()
        ]

    def _tell_classes(
        self, method: str, probe: str, draws: Sequence[NDArray[np.int64]]
    ) -> pd.DataFrame:
        from sklearn.metrics import precision_recall_fscore_support

        codes, classes = self._cells.codes, self._cells.classes
        labels = np.arange(len(classes))
        each = [
            precision_recall_fscore_support(codes, one, labels=labels, zero_division=0)[:3]
            for one in draws
        ]
        precision, recall, f1 = np.mean(each, axis=0)
        return pd.DataFrame(
            {
                "method": method, "probe": probe, "class": classes, "precision": precision,
                "recall": recall, "f1": f1, "n_cells": np.bincount(codes, minlength=len(classes)),
            }
        )  # fmt: skip

    def _confuse(self, draws: Sequence[NDArray[np.int64]]) -> pd.DataFrame:
        from sklearn.metrics import confusion_matrix

        codes, classes = self._cells.codes, self._cells.classes
        labels = np.arange(len(classes))
        mean = np.mean([confusion_matrix(codes, one, labels=labels) for one in draws], axis=0)
        return pd.DataFrame(
            mean, index=pd.Index(classes, name="true"), columns=pd.Index(classes, name="predicted")
        )
