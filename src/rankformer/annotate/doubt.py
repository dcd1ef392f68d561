"""How unlike a reference cells are: local means of both, compared in two spaces."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.profiles import Profiles
from rankformer.annotate.ways import LEAST_SHOWN, NEIGHBOURS, PCA_NEIGHBOURS, Learned, Lesson

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

# A cell is averaged with so many others, its nearest: five cells have less noise than one.
N_OTHERS = 4
_SPACES = (NEIGHBOURS, PCA_NEIGHBOURS)


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """A space with labelled cells, as local means, and with cells to be named.

    Attributes
    ----------
    points
        Cells → (n_cells, n_dims) float32.
    shift
        (n_dims,) of the cells to be named.
    pool
        (n_shown, n_dims) some of these.
    near
        Finds the nearest of the pool.
    labelled
        Finds the nearest local mean of labelled cells.
    least
        How far such means lie from one another: nearer cells are no nearer.
    """

    points: Callable[[Profiles], NDArray[np.float32]]
    shift: NDArray[np.float32]
    pool: NDArray[np.float32]
    near: "NearestNeighbors"
    labelled: "NearestNeighbors"
    least: float

    def others(self, points: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The nearest of the pool, but for the cells themselves, where they are in it."""
        return _nearest_others(self.near, points, places)

    def log_distance(
        self, points: NDArray[np.float32], others: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """From a local mean, less the shift, to the nearest one of labelled cells."""
        mean = (points + self.pool[others].sum(axis=1)) / (1 + others.shape[1])
        distances, _ = self.labelled.kneighbors(mean - self.shift, 1)
        return np.asarray(np.log(np.maximum(distances[:, 0], self.least)))


@dataclass(frozen=True, eq=False)
class Doubts:
    """Says of cells how unlike the reference they are, beside the middle one of the query.

    Each cell is averaged with its four nearest cells of the query, and each labelled cell with its
    four nearest labelled ones. The distance from such a mean, less the shift of the query, to the
    nearest one of labelled cells is divided by that of the middle cell of the query, in the
    embedding and among the principal components of variable genes. The doubt is the geometric mean
    of the two, and of the same cells again: 1 for the middle cell, 2 for one that is twice as far.

    Attributes
    ----------
    spaces
        The embedding, and the principal components.
    middle
        (2,) the log distance of the middle cell in each.
    shown
        (n_shown,) the log doubt of each cell of the pool, by itself.
    """

    spaces: tuple[_Surroundings, ...]
    middle: NDArray[np.float64]
    shown: NDArray[np.float64]

    @classmethod
    def learn(cls, lesson: Lesson, shown: Profiles, learned: Learned) -> "Doubts | None":
        """Look at labelled cells and at some cells to be named; None where no shift is known."""
        if not learned.shifts:
            return None
        spaces = tuple(_surround(way, lesson, shown, learned) for way in _SPACES)
        places = np.arange(len(shown))
        logs = [each.log_distance(each.pool, each.others(each.pool, places)) for each in spaces]
        middle = np.median(logs, axis=1)
        return cls(spaces, middle, np.mean(np.array(logs) - middle[:, None], axis=0))

    @staticmethod
    def can_be_had(shown: Profiles) -> bool:
        """Whether doubts can be known of a query of which these are some cells."""
        return shown.expression is not None and len(shown) >= LEAST_SHOWN

    def of(self, cells: Profiles, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """The doubt of each cell.

        Parameters
        ----------
        cells
            Cells of the query.
        places
            (n,) the place of each among the cells that were shown; -1 for one that was not.

        Returns
        -------
        (n,) float32 above 0.
        """
        logs = []
        for space, middle in zip(self.spaces, self.middle, strict=True):
            points = space.points(cells)
            others = space.others(points, places)
            logs.append(space.log_distance(points, others) - middle)
        # The others are those of the last space, the principal components.
        n_others = others.shape[1]
        mean = (np.mean(logs, axis=0) + self.shown[others].sum(axis=1)) / (1 + n_others)
        return np.asarray(np.exp(mean), np.float32)


def _surround(way: str, lesson: Lesson, shown: Profiles, learned: Learned) -> _Surroundings:
    from sklearn.neighbors import NearestNeighbors

    points = learned.ways[way].space.points
    labelled, pool = points(lesson.cells), points(shown)
    places = np.arange(len(labelled))
    finder = NearestNeighbors(algorithm="brute").fit(labelled)
    others = _nearest_others(finder, labelled, places)
    means = (labelled + labelled[others].sum(axis=1)) / (1 + others.shape[1])
    near_means = NearestNeighbors(algorithm="brute").fit(means)
    apart, _ = near_means.kneighbors(means, 2)
    least = max(float(np.median(apart[:, 1])), float(np.finfo(np.float32).tiny))
    near = NearestNeighbors(algorithm="brute").fit(pool)
    return _Surroundings(points, learned.shifts[way], pool, near, near_means, least)


def _nearest_others(
    finder: "NearestNeighbors", points: NDArray[np.float32], places: NDArray[np.int64]
) -> NDArray[np.int64]:
    n_others = min(N_OTHERS, finder.n_samples_fit_ - 1)
    _, found = finder.kneighbors(points, n_others + 1)
    own = found == places[:, None]
    # Of equal cells another may stand in the place of the cell itself.
    own[~own.any(axis=1), -1] = True
    return np.asarray(found[~own].reshape(len(points), n_others), np.int64)
