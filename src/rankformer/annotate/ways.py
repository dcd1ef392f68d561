"""Ways of naming cells by labelled ones: each learns from these, and gives probabilities.

Cells of two laboratories differ as a whole. Each way is therefore also shown cells without labels,
some of those that are to be named, so that it can look at both alike.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit
from rankformer.annotate.profiles import Profiles
from rankformer.annotate.shift import ShiftChoice, Sight, Space, find_shift, length_of
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
    space
        Where the points lie, and what is said of them.
    shift
        (n_dims,): what is taken from the points of the cells to be named.
    """

    space: Space
    shift: NDArray[np.float32]

    def probabilities(self, cells: Profiles) -> NDArray[np.float32]:
        """(n_cells, n_classes); each row sums to 1."""
        return self.space.say(self.space.points(cells) - self.shift)


@dataclass(frozen=True, eq=False)
class Learned:
    """What all single ways have learned of a lesson, as far as there are counts for them.

    Attributes
    ----------
    ways
        Way → what has learned.
    shifts
        Way → (n_dims,) the shift of the cells to be named, whether it is taken away or not; empty
        where none is known.
    choice
        Whether it is, and why; None where none is known.
    """

    ways: Mapping[str, FittedWay]
    shifts: Mapping[str, NDArray[np.float32]]
    choice: ShiftChoice | None = None


def learn(lesson: Lesson, unlabelled: Profiles) -> Learned:
    """Learn labels by all single ways that there can be.

    Where counts are known, the cells to be named are also looked at less the shift that they have,
    as a whole, beside labelled cells of the labels that they seem to have: see `find_shift`. Ways
    that see cells differently agree where they are right. So the shift is taken away where the ways
    then agree on the labels of more cells than without it, unless on other labels than before.
    Fewer than 50 cells are too few to know a shift by.

    Parameters
    ----------
    lesson
        Labelled cells.
    unlabelled
        Some of the cells to be named.
    """
    if unlabelled.expression is None:
        return Learned({NEIGHBOURS: _as_it_is(_embedding(lesson, unlabelled), lesson)}, {})
    if len(unlabelled) < LEAST_SHOWN:
        spaces = {way: _SPACES[way](lesson, unlabelled) for way in SINGLE_WAYS}
        return Learned({way: _as_it_is(space, lesson) for way, space in spaces.items()}, {})
    sights = see(lesson, unlabelled)
    shift = find_shift(sights, AGREEMENT)
    choice = ShiftChoice(
        taken_away=shift.is_credible,
        by=shift.by,
        agreement_with=float(shift.agreement.mean()),
        agreement_without=shift.agreement_without,
        overturned=shift.overturned,
        length=length_of(shift.of[PCA_NEIGHBOURS], sights[PCA_NEIGHBOURS].means),
    )
    taken = {way: each * choice.taken_away for way, each in shift.of.items()}
    ways = {way: FittedWay(each.space, taken[way]) for way, each in sights.items()}
    return Learned(ways, shift.of, choice)


def see(lesson: Lesson, unlabelled: Profiles) -> dict[str, Sight]:
    """What each single way sees of cells to be named, whose counts are known.

    Parameters
    ----------
    lesson, unlabelled
        As `learn` has them.
    """
    spaces = {way: _SPACES[way](lesson, unlabelled) for way in SINGLE_WAYS}
    return {
        way: Sight.of(space, unlabelled, lesson.cells, lesson.codes)
        for way, space in spaces.items()
    }


def fit_ways(ways: Sequence[str], lesson: Lesson, unlabelled: Profiles) -> dict[str, FittedWay]:
    """Way → what `learn` has learned by it, of some of `SINGLE_WAYS`."""
    learned = learn(lesson, unlabelled).ways
    return {way: learned[way] for way in ways}


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

    genes, present = _variable(lesson), np.unique(lesson.codes)
    if len(present) == 1:
        return Space(lambda cells: _dense(cells, genes), partial(_always, present[0], lesson))
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


def _always(code: int, lesson: Lesson, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """All that can be said by who has seen one class."""
    said = np.zeros((len(points), lesson.n_classes), np.float32)
    said[:, code] = 1
    return said


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


def _as_it_is(space: Space, lesson: Lesson) -> FittedWay:
    n_dims = space.points(lesson.cells.take(slice(0, 1))).shape[1]
    return FittedWay(space, np.zeros(n_dims, np.float32))
