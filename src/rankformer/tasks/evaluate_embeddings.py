"""Honest evaluation of embeddings: the same cells, folds and probes for each, beside baselines."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.tasks.batch_mixing import score_batch_mixing
from rankformer.tasks.embedding_scores import (
    LINEAR,
    PROBES,
    ExpressionSpace,
    FixedSpace,
    Space,
    draws_rows,
    macro_f1,
    predict_held_out,
    predict_majority,
    score_clusters,
    score_silhouettes,
)
from rankformer.tasks.evaluation_folds import Folds, draw_folds
from rankformer.tasks.expression_baselines import choose_variable_genes, log_normalise
from rankformer.tasks.integration import (
    HARMONY,
    SCVI,
    check_methods,
    integrate_harmony,
    integrate_scvi,
    score_by_scib,
)
from rankformer.tasks.labelled_cells import LabelledCells, WhatToRead, gather_labelled_cells
from rankformer.tasks.tokenize import ReadingOptions

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

HVG_PCA, MAJORITY = "HVG + PCA", "majority class"
WHOLE = "all"


@dataclass(frozen=True, eq=False)
class EmbeddingEvaluation:
    """What embeddings and baselines score on the same cells.

    Attributes
    ----------
    values
        Tidy: ``method``, ``figure``, ``seed`` (<NA> where nothing is random), ``fold`` (``"all"``:
        over all cells, each tested once; else the group or number of one fold) and ``value``.
    per_class
        ``method``, ``probe``, ``class``, ``precision``, ``recall``, ``f1``, ``n_cells``: means over
        seeds.
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

    values: pd.DataFrame
    per_class: pd.DataFrame
    confusion: Mapping[str, pd.DataFrame]
    n_cells: int
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    settings: Mapping[str, Any]

    def summary(self) -> pd.DataFrame:
        """``mean`` and ``spread`` (standard deviation over seeds), and ``lowest_fold``.

        Returns
        -------
        A row for each method and figure, in the order of `values`. The spread is NaN where there
        is one value; the lowest fold is the mean over seeds of the least value of a fold, NaN for
        figures that have no folds.
        """
        whole = self.values[self.values["fold"] == WHOLE]
        by = ["method", "figure"]
        table = whole.groupby(by, sort=False)["value"].agg(mean="mean", spread="std")
        folds = self.values[self.values["fold"] != WHOLE]
        lowest = folds.groupby([*by, "seed"], sort=False, dropna=False)["value"].min()
        table["lowest_fold"] = lowest.groupby(by, sort=False).mean()
        return table


def evaluate_embeddings(
    source: "AnnData | str | os.PathLike[str]",
    keys: str | Sequence[str],
    *,
    label: str,
    batch: str | None = None,
    group: str | None = None,
    beside: Sequence[str] = (),
    ignored: Sequence[str] = (),
    n_folds: int = 5,
    n_seeds: int = 5,
    options: ReadingOptions | None = None,
) -> EmbeddingEvaluation:
    """Evaluate embeddings in obsm, beside HVG + PCA of the same cells and a majority class.

    Figures, each the better the higher:

    - ``knn_macro_f1``, ``linear_macro_f1``: each cell's label is predicted by probes trained on
      other folds; F1 over all cells, mean over labels.
    - ``ari``, ``nmi``: agreement of k-means clusters with labels; why k-means: `score_clusters`.
    - ``silhouette_label`` and, with `batch`, ``silhouette_batch``: see `score_silhouettes`.
    - ``batch_mixing``, with `batch`: see `score_batch_mixing`. Where scib-metrics is installed also
      its ``ilisi_scib`` and ``kbet_scib``.

    What may leak: probes are trained on training cells alone, and so are the genes, the components
    and the scaling behind HVG + PCA in each fold. An embedding is taken as it lies: where its model
    was fine-tuned on these labels, or pretrained on these cells, its figures know of the test cells
    and those of HVG + PCA do not. Harmony and scVI are run once on all cells, without labels, as
    they are used; the same holds of them. Clusters, silhouettes and batches are of all cells.

    Parameters
    ----------
    source
        AnnData, ``.h5ad`` or ``.zarr`` with counts and embeddings.
    keys
        Names in obsm.
    label
        Column of obs with the true labels.
    batch
        Column of obs whose mixing is measured.
    group
        Column of obs, such as the donor, of which no value is both trained on and tested. Without
        it cells are drawn, and it is said what that may leak.
    beside
        ``"harmony"``, ``"scvi"``: further methods, where installed; they need `batch`.
    ignored
        Labels whose cells are left out, such as ``"unassigned"``.
    n_folds
        Folds, or as many as groups where these are fewer.
    n_seeds
        Draws of folds, clusters and what else is random: seeds 0, 1, …
    options
        Where the counts lie.

    Returns
    -------
    The figures of each method on the same cells: those that have an embedding in each of `keys`, a
    label, a batch and a group. How many were left out is logged and kept.

    Raises
    ------
    SettingsError
        If columns or embeddings are missing, or the cells cannot be cut into such folds.
    CountsError
        If there are no counts for HVG + PCA.
    """
    require_evaluation()
    keys = (keys,) if isinstance(keys, str) else tuple(dict.fromkeys(keys))
    _check_keys(keys)
    what = WhatToRead(label, keys, batch, group, ignored=tuple(ignored))
    cells = gather_labelled_cells(source, what, options)
    beside = tuple(dict.fromkeys(beside))
    check_methods(beside, cells.batches)
    _check_batches(cells, batch)
    folds = draw_folds(cells.codes, cells.groups, n_folds=n_folds, n_seeds=n_seeds, label=label)
    run = _Evaluation(cells, folds, n_seeds)
    for name, space in _spaces(cells, beside):
        logger.info("Evaluating %s.", name)
        run.add(name, space)
    run.add_majority()
    settings = {
        "label": label, "batch": batch, "group": group, "keys": list(keys), "beside": list(beside),
        "ignored": list(ignored), "folds": folds.n_folds, "draws_of_folds": len(folds.draws),
        "seeds": n_seeds, "classes": list(cells.classes), "versions": _versions(),
    }  # fmt: skip
    return run.result(settings, _notes(cells, folds, label, group, beside))


def require_evaluation() -> None:
    """Refuse where what evaluates is not installed.

    Raises
    ------
    SettingsError
        If it is not.
    """
    packages = {"scanpy": "scanpy", "sklearn": "scikit-learn", "matplotlib": "matplotlib"}
    missing = [name for module, name in packages.items() if find_spec(module) is None]
    if missing:
        raise SettingsError(
            f"{' and '.join(missing)} is not installed.",
            "scanpy, scikit-learn and matplotlib, which evaluate and draw.",
            'Run: pip install "rankformer[evaluate]"',
        )


class _Evaluation:
    """Gathers figures, method after method."""

    def __init__(self, cells: LabelledCells, folds: Folds, n_seeds: int) -> None:
        self._cells, self._folds, self._n_seeds = cells, folds, n_seeds
        self._batches = None if cells.batches is None else pd.factorize(cells.batches)[0]
        self._values: list[dict[str, Any]] = []
        self._per_class: list[pd.DataFrame] = []
        self._confusion: dict[str, pd.DataFrame] = {}

    def add(self, method: str, space: Space) -> None:
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
        codes = self._cells.codes
        draws = [predict_majority(codes, each) for each in self._folds.draws]
        for probe in PROBES:
            self._add_predicted(MAJORITY, probe, draws)
        # All cells in one cluster agree with no label.
        self._put(MAJORITY, {"ari": 0.0, "nmi": 0.0})

    def result(self, settings: Mapping[str, Any], notes: tuple[str, ...]) -> EmbeddingEvaluation:
        values = pd.DataFrame(self._values).astype({"seed": "Int64"})
        per_class = pd.concat(self._per_class, ignore_index=True)
        return EmbeddingEvaluation(
            values, per_class, self._confusion, len(self._cells), self._cells.left_out, notes,
            settings,
        )  # fmt: skip

    def _add_silhouettes(self, method: str, vectors: NDArray[np.float32]) -> None:
        drawn = draws_rows(len(vectors))
        for seed in range(self._n_seeds if drawn else 1):
            scores = score_silhouettes(vectors, self._cells.codes, self._batches, seed)
            self._put(method, scores, seed if drawn else None)

    def _add_predicted(
        self, method: str, probe: str, draws: Sequence[NDArray[np.int64]]
    ) -> None:
        codes, figure = self._cells.codes, f"{probe}_macro_f1"
        for seed, predicted in enumerate(draws):
            shown = seed if len(draws) > 1 else None
            self._put(method, {figure: macro_f1(codes, predicted)}, shown)
            named = zip(self._folds.names[seed], self._folds.draws[seed], strict=True)
            for name, (_, test) in named:
                self._put(method, {figure: macro_f1(codes[test], predicted[test])}, shown, name)
        self._per_class.append(self._tell_classes(method, probe, draws))
        if probe == LINEAR:
            self._confusion[method] = self._confuse(draws)

    def _put(
        self, method: str, scores: Mapping[str, float], seed: int | None = None, fold: str = WHOLE
    ) -> None:
        self._values += [
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


def _spaces(cells: LabelledCells, beside: tuple[str, ...]) -> Iterator[tuple[str, Space]]:
    for key, vectors in cells.vectors.items():
        yield key, FixedSpace(vectors)
    assert cells.counts is not None  # noqa: S101  # they were asked for
    values = log_normalise(cells.counts)
    expression = ExpressionSpace(values)
    yield HVG_PCA, expression
    if cells.batches is not None and HARMONY in beside:
        yield "Harmony", FixedSpace(integrate_harmony(expression.whole(), cells.batches, seed=0))
    if cells.batches is not None and SCVI in beside:
        genes = choose_variable_genes(values)
        yield "scVI", FixedSpace(integrate_scvi(cells.counts, genes, cells.batches, seed=0))


def _check_keys(keys: tuple[str, ...]) -> None:
    taken = [key for key in keys if key in (HVG_PCA, MAJORITY, "Harmony", "scVI")]
    if not keys or taken:
        raise SettingsError(
            f"The embeddings {', '.join(taken)} have a name that a baseline has."
            if taken
            else "No embedding was named.",
            "At least one name in obsm.",
            "Pass keys (--key).",
        )


def _check_batches(cells: LabelledCells, batch: str | None) -> None:
    if cells.batches is not None and len(set(cells.batches)) < 2:
        raise SettingsError(
            f"All {len(cells):,} cells are of one {batch} ({cells.batches[0]}).",
            "At least two batches, so that there is something to mix.",
            "Name another column (--batch), or leave it out.",
        )


def _notes(
    cells: LabelledCells,
    folds: Folds,
    label: str,
    group: str | None,
    beside: tuple[str, ...],
) -> tuple[str, ...]:
    if group is None:
        how = (
            f"Cells were drawn into {folds.n_folds} folds: cells of one donor or batch lie in "
            "training and in test, so the figures do not say how well new ones are labelled."
        )
    elif len(folds.draws) == 1:
        how = (
            f"Each {group} was tested by probes trained on the others: nothing is drawn, so the "
            "probes have no spread over seeds; the spread over groups is in the folds."
        )
    else:
        how = f"No {group} was both trained on and tested; {folds.n_folds} folds a draw."
    notes = [
        how,
        "HVG + PCA was learned from the training cells of each fold.",
        "Embeddings are taken as they lie: a model pretrained or fine-tuned on these cells has "
        "seen those that are tested.",
    ]
    if beside:
        notes.append(f"{', '.join(beside)} saw all cells and batches, without labels.")
    unseen = _count_unseen(cells, folds)
    if unseen:
        notes.append(
            f"{unseen:,} cells (mean over draws) were tested by probes that had no training cell "
            f"of their {label}: they count as wrong, for every method."
        )
        logger.warning("%s", notes[-1])
    if cells.batches is None:
        notes.append("No batch was given: how batches mix was not measured.")
    return tuple(notes)


def _count_unseen(cells: LabelledCells, folds: Folds) -> int:
    n_unseen = [
        int((~np.isin(cells.codes[test], cells.codes[train])).sum())
        for draw in folds.draws
        for train, test in draw
    ]
    return round(sum(n_unseen) / len(folds.draws))


def _versions() -> dict[str, str]:
    names = ("rankformer", "scikit-learn", "scanpy", "numpy", "scib-metrics")
    modules = {"scikit-learn": "sklearn", "scib-metrics": "scib_metrics"}
    return {name: version(name) for name in names if find_spec(modules.get(name, name))}
