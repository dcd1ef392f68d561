"""Ways of naming cells by labelled ones: each learns from these, and gives probabilities.

Cells of two laboratories differ as a whole. Each way is therefore also shown cells without labels,
some of those that are to be named, so that it can look at both alike.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit
from rankformer.annotate.profiles import Profiles
from rankformer.annotate.variable_genes import choose_variable_genes
from rankformer.annotate.vote import count_votes

NEIGHBOURS, LOGISTIC, PCA_NEIGHBOURS, AGREEMENT = "neighbours", "logistic", "pca", "agreement"
BEST_TWO = "best_two"
SINGLE_WAYS = (NEIGHBOURS, LOGISTIC, PCA_NEIGHBOURS)
BY_EXPRESSION = (LOGISTIC, PCA_NEIGHBOURS)
# In words, for tables.
IN_WORDS = {
    NEIGHBOURS: "neighbours in the embedding",
    LOGISTIC: "logistic regression on counts",
    PCA_NEIGHBOURS: "neighbours by HVG + PCA",
    BEST_TWO: "agreement of the best two",
    AGREEMENT: "agreement of all three",
}
_N_COMPONENTS = 50
# Of the regression: as scikit-learn has it, a tenth of its default.
_PENALTY, _MOST_STEPS = 0.1, 100
_ROUNDS = 5
_FEW_GENES = 300
# Of fewer cells, what they have in common is no shift.
LEAST_SHOWN = 50


@dataclass(frozen=True, eq=False)
class Lesson:
    """Labelled cells to learn from.

    Attributes
    ----------
    cells
        The cells.
    codes
        (n_cells,) int32: their classes.
    n_classes
        How many classes there are; some may have no cell.
    n_neighbors
        That vote, where neighbours do.
    """

    cells: Profiles
    codes: NDArray[np.int32]
    n_classes: int
    n_neighbors: int

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[np.int64]) -> "Lesson":
        """Some of the cells."""
        return Lesson(self.cells.take(rows), self.codes[rows], self.n_classes, self.n_neighbors)


@dataclass(frozen=True, eq=False)
class FittedWay:
    """What has learned labels: cells become points of a space, which get probabilities there.

    Attributes
    ----------
    points
        Cells → (n_cells, n_dims) float32.
    say
        Points → (n_cells, n_classes) float32; each row sums to 1.
    shifts
        (n_dims,) each: how the cells to be named lie beside the labelled ones. The probabilities
        are the mean of those of the points less each of these.
    """

    points: Callable[[Profiles], NDArray[np.float32]]
    say: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    shifts: tuple[NDArray[np.float32], ...]

    def probabilities(self, cells: Profiles) -> NDArray[np.float32]:
        """(n_cells, n_classes); each row sums to 1."""
        points = self.points(cells)
        said = [self.say(points - each) for each in self.shifts]
        return np.asarray(np.mean(said, axis=0), np.float32)


def fit_ways(ways: Sequence[str], lesson: Lesson, unlabelled: Profiles) -> dict[str, FittedWay]:
    """Learn labels by single ways.

    Parameters
    ----------
    ways
        Some of `SINGLE_WAYS`.
    lesson
        Labelled cells.
    unlabelled
        Some of the cells to be named. Where counts are known, they are also looked at less the
        shift that they have, as a whole, beside labelled cells of the labels that the regression
        gives them: see `shift_of`. Fewer than 50 are too few for that.

    Returns
    -------
    Way → what has learned.
    """
    if unlabelled.expression is None or len(unlabelled) < LEAST_SHOWN:
        spaces = {way: _SPACES[way](lesson, unlabelled) for way in ways}
        return {way: _aligned(space, lesson, unlabelled, None) for way, space in spaces.items()}
    teacher = _SPACES[LOGISTIC](lesson, unlabelled)
    said = _named_with_shift(teacher, lesson, unlabelled)
    fitted = {}
    for way in ways:
        space = teacher if way == LOGISTIC else _SPACES[way](lesson, unlabelled)
        fitted[way] = _aligned(space, lesson, unlabelled, said)
    return fitted


@dataclass(frozen=True, eq=False)
class Space:
    """Where labelled cells lie, and what they say of other points there."""

    points: Callable[[Profiles], NDArray[np.float32]]
    say: Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _embedding(lesson: Lesson, unlabelled: Profiles) -> Space:
    """The nearest labelled cells in the embedding vote; see `NeighbourVote`.

    Where a shift can be taken away, angles are taken at the middle of the labelled cells.
    """
    is_shifted = unlabelled.expression is not None
    middle = lesson.cells.vectors.mean(axis=0) if is_shifted else np.float32(0)

    def points(cells: Profiles) -> NDArray[np.float32]:
        return np.asarray(cells.vectors - middle, np.float32)

    return Space(points, _voters(points(lesson.cells), lesson))


def _components(lesson: Lesson, unlabelled: Profiles) -> Space:
    """The nearest labelled cells vote, by principal components of labelled and other cells."""
    from sklearn.decomposition import PCA

    genes = _variable_in_both(lesson, unlabelled)
    values = np.concatenate([_dense(lesson.cells, genes), _dense(unlabelled, genes)])
    n_components = min(_N_COMPONENTS, len(genes), len(values) - 1)
    pca = PCA(n_components, svd_solver="randomized", random_state=0).fit(values)

    def points(cells: Profiles) -> NDArray[np.float32]:
        return np.asarray(pca.transform(_dense(cells, genes)), np.float32)

    return Space(points, _voters(points(lesson.cells), lesson))


def _regression(lesson: Lesson, unlabelled: Profiles) -> Space:  # noqa: ARG001  # as the others
    """Logistic regression on the log-normalised counts of variable genes."""
    from sklearn.linear_model import LogisticRegression

    genes = _variable(lesson)
    model = LogisticRegression(C=_PENALTY, max_iter=_MOST_STEPS, tol=1e-3)
    with warnings.catch_warnings():
        # That it could be made a little better still.
        warnings.simplefilter("ignore")
        model.fit(_dense(lesson.cells, genes), lesson.codes)

    def say(points: NDArray[np.float32]) -> NDArray[np.float32]:
        said = np.zeros((len(points), lesson.n_classes), np.float32)
        said[:, model.classes_] = model.predict_proba(points)
        return said

    return Space(lambda cells: _dense(cells, genes), say)


_SPACES: Mapping[str, Callable[[Lesson, Profiles], Space]] = {
    NEIGHBOURS: _embedding,
    LOGISTIC: _regression,
    PCA_NEIGHBOURS: _components,
}


def _variable(lesson: Lesson) -> NDArray[np.int64]:
    assert lesson.cells.expression is not None  # noqa: S101
    return choose_variable_genes(lesson.cells.expression)


def _variable_in_both(lesson: Lesson, unlabelled: Profiles) -> NDArray[np.int64]:
    """Genes that vary among both; among the labelled cells, where these are few."""
    own = _variable(lesson)
    assert unlabelled.expression is not None  # noqa: S101
    both = np.intersect1d(own, choose_variable_genes(unlabelled.expression))
    return both if len(both) >= _FEW_GENES else own


def _dense(cells: Profiles, genes: NDArray[np.int64]) -> NDArray[np.float32]:
    assert cells.expression is not None  # noqa: S101
    return np.asarray(cells.expression[:, genes].toarray(), np.float32)


def _voters(
    points: NDArray[np.float32], lesson: Lesson
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """What the nearest of some labelled points say of others."""
    scaled = points.copy()
    scale_to_unit(scaled)
    index, k = NeighbourIndex.build(scaled), min(lesson.n_neighbors, len(scaled))

    def say(others: NDArray[np.float32]) -> NDArray[np.float32]:
        asked = others.copy()
        scale_to_unit(asked)
        rows, distances = index.search(asked, k)
        return count_votes(lesson.codes[rows], distances, lesson.n_classes)

    return say


def shift_of(
    points: NDArray[np.float32],
    said: NDArray[np.float32],
    labelled: NDArray[np.float32],
    codes: NDArray[np.int32],
) -> NDArray[np.float32]:
    """How points lie, as a whole, beside labelled points of the labels that they seem to have.

    Their mean, less the mean of the labelled points in which each label has the share that it has
    among the points. So it is not taken for a shift that a label is rarer in one of the two.

    Parameters
    ----------
    points
        (n, n_dims) of the cells to be named.
    said
        (n, n_classes) their probabilities.
    labelled, codes
        (n_labelled, n_dims) and (n_labelled,).

    Returns
    -------
    (n_dims,) float32.
    """
    shares = said.mean(axis=0, dtype=np.float64)
    mean = np.zeros(points.shape[1])
    for code in np.unique(codes):
        mean += shares[code] * labelled[codes == code].mean(axis=0, dtype=np.float64)
    total = shares[np.unique(codes)].sum()
    return np.asarray(points.mean(axis=0, dtype=np.float64) - mean / total, np.float32)


def _named_with_shift(teacher: Space, lesson: Lesson, unlabelled: Profiles) -> NDArray[np.float32]:
    """What the regression says of cells, less the shift that it then sees in them; some rounds."""
    points, labelled = teacher.points(unlabelled), teacher.points(lesson.cells)
    said = teacher.say(points)
    for _ in range(_ROUNDS):
        said = teacher.say(points - shift_of(points, said, labelled, lesson.codes))
    return said


def _aligned(
    space: Space, lesson: Lesson, unlabelled: Profiles, said: NDArray[np.float32] | None
) -> FittedWay:
    labelled = space.points(lesson.cells)
    none = np.zeros(labelled.shape[1], np.float32)
    if said is None:
        return FittedWay(space.points, space.say, (none,))
    points = space.points(unlabelled)
    shift = shift_of(points, said, labelled, lesson.codes)
    return FittedWay(space.points, space.say, (shift,))
