"""Figures of one embedding: what a classifier reads out of it, clusters, silhouettes, batches."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.evaluate.expression_baselines import ComponentsOfGenes
from rankformer.evaluate.folds import Fold

KNN, LINEAR = "knn", "linear"
PROBES = (KNN, LINEAR)
N_NEIGHBOURS = 15
_MOST_CELLS_OF_SILHOUETTES = 10_000
_UNKNOWN = -1


class Space(Protocol):
    """Vectors of cells, which may have to be learned from those that are trained on."""

    def fold(self, fold: Fold) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors of the cells to train on, and of those to test."""

    def whole(self) -> NDArray[np.float32]:
        """Vectors of all cells, for figures that train nothing."""


class FixedSpace:
    """Vectors that were there before the evaluation: (n_cells, width)."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors

    def fold(self, fold: Fold) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        train, test = fold
        return self._vectors[train], self._vectors[test]

    def whole(self) -> NDArray[np.float32]:
        return self._vectors


class ExpressionSpace:
    """HVG + PCA of (n_cells, n_vars) log-normalised values, learned from the training cells."""

    def __init__(self, values: csr_matrix) -> None:
        self._values = values

    def fold(self, fold: Fold) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        train, test = (self._values[rows] for rows in fold)
        components = ComponentsOfGenes.fit(train)
        return components.transform(train), components.transform(test)

    def whole(self) -> NDArray[np.float32]:
        return ComponentsOfGenes.fit(self._values).transform(self._values)


def predict_held_out(
    space: Space, codes: NDArray[np.int64], folds: tuple[Fold, ...]
) -> dict[str, NDArray[np.int64]]:
    """Predict each cell by probes that were trained on the other folds.

    ``knn`` is the vote of the 15 nearest cells by Euclidean distance; ``linear`` logistic
    regression, C = 1, on dimensions scaled to unit variance in the training cells.

    Parameters
    ----------
    codes
        (n_cells,) each cell's class.

    Returns
    -------
    For each probe (n_cells,) the class.
    """
    predicted = {probe: np.full(len(codes), _UNKNOWN, dtype=np.int64) for probe in PROBES}
    for fold in folds:
        train, test = fold
        known, asked = space.fold(fold)
        for probe, make in _PROBES.items():
            predicted[probe][test] = _predict(make(len(train)), known, codes[train], asked)
    return predicted


def predict_majority(codes: NDArray[np.int64], folds: tuple[Fold, ...]) -> NDArray[np.int64]:
    """The largest class of the training cells, for each cell."""
    predicted = np.full(len(codes), _UNKNOWN, dtype=np.int64)
    for train, test in folds:
        predicted[test] = np.bincount(codes[train]).argmax()
    return predicted


def macro_f1(codes: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Mean F1 over the classes that `codes` has."""
    from sklearn.metrics import f1_score

    return float(
        f1_score(codes, predicted, labels=np.unique(codes), average="macro", zero_division=0)
    )


def score_clusters(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], seed: int
) -> dict[str, float]:
    """Agreement of clusters with labels: ``ari`` and ``nmi``.

    The clusters are k-means', as many as labels, the best of 10 random starts. Leiden would need a
    resolution: one chosen by the labels uses the answer, and a fixed one means another number of
    clusters in each embedding, which these figures reward or punish. Its fault is that it likes
    round clusters of like size, in every embedding alike.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    means = KMeans(len(np.unique(codes)), n_init=10, random_state=seed)
    with warnings.catch_warnings():
        # Fewer distinct vectors than labels make fewer clusters.
        warnings.simplefilter("ignore")
        clusters = means.fit_predict(vectors)
    return {
        "ari": float(adjusted_rand_score(codes, clusters)),
        "nmi": float(normalized_mutual_info_score(codes, clusters)),
    }


def score_silhouettes(
    vectors: NDArray[np.float32],
    codes: NDArray[np.int64],
    batches: NDArray[np.int64] | None,
    seed: int,
) -> dict[str, float]:
    """``silhouette_label``, and ``silhouette_batch`` where there are batches.

    The first is the mean silhouette of the labels, -1 to 1. The second, as scIB has it (Luecken et
    al. 2022, doi:10.1038/s41592-021-01336-8), is the mean over the cells of a label
    of 1 less the absolute silhouette of the batch among these, and then over labels: 1 is mixed. Of
    more than 10,000 cells, so many are drawn.
    """
    rows = draw_rows(len(codes), seed)
    vectors, codes = vectors[rows], codes[rows]
    scores = {"silhouette_label": _silhouette(vectors, codes).mean()}
    if batches is not None:
        own = batches[rows]
        within = [
            1 - np.abs(_silhouette(vectors[codes == each], own[codes == each])).mean()
            for each in np.unique(codes)
        ]
        known = [each for each in within if np.isfinite(each)]
        scores["silhouette_batch"] = np.mean(known) if known else np.nan
    return {name: float(value) for name, value in scores.items()}


def draws_rows(n_cells: int) -> bool:
    """Whether silhouettes are of drawn cells, and so differ with the seed."""
    return n_cells > _MOST_CELLS_OF_SILHOUETTES


def draw_rows(n_cells: int, seed: int) -> NDArray[np.int64]:
    """All rows, or as many as silhouettes are of, ascending."""
    if not draws_rows(n_cells):
        return np.arange(n_cells)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n_cells, _MOST_CELLS_OF_SILHOUETTES, replace=False))


def _silhouette(vectors: NDArray[np.float32], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    from sklearn.metrics import silhouette_samples

    if not 2 <= len(np.unique(codes)) < len(codes):
        return np.array([np.nan])
    return np.asarray(silhouette_samples(vectors, codes), dtype=np.float64)


def _predict(
    probe: Any,
    known: NDArray[np.float32],
    codes: NDArray[np.int64],
    asked: NDArray[np.float32],
) -> NDArray[np.int64]:
    if len(np.unique(codes)) < 2:
        return np.full(len(asked), codes[0], dtype=np.int64)
    return np.asarray(probe.fit(known, codes).predict(asked), dtype=np.int64)


def _make_knn(n_train: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(N_NEIGHBOURS, n_train))


def _make_linear(n_train: int) -> Any:  # noqa: ARG001  # the signature of a probe
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


_PROBES: Mapping[str, Callable[[int], Any]] = {KNN: _make_knn, LINEAR: _make_linear}
