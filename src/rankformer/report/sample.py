"""Which cells are shown where there are more than a page holds."""

import numpy as np
from numpy.typing import NDArray

_N_AXES, _N_BINS = 3, 12
# Axes are found from some cells: the directions in which many cells vary need no more.
_MOST_TO_FIND_AXES = 20_000


def draw_by_density(
    vectors: NDArray[np.float32], n_drawn: int, *, seed: int = 0
) -> NDArray[np.int64]:
    """Draw cells, those that lie close together with a smaller chance.

    A cell's weight is one over the square root of the number of cells in its box, of a grid over
    the first three principal axes of the vectors. Cells are drawn without replacement by the
    exponential keys of Efraimidis and Spirakis (Inf. Process. Lett. 97, 181, 2006).

    Parameters
    ----------
    vectors
        (n_cells, width), finite.
    n_drawn
        Cells to draw.
    seed
        Of the draw.

    Returns
    -------
    Rows, ascending; all of them where there are no more than `n_drawn`.
    """
    if len(vectors) <= n_drawn:
        return np.arange(len(vectors))
    rng = np.random.default_rng(seed)
    boxes = _find_boxes(vectors, rng)
    _, own, sizes = np.unique(boxes, axis=0, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(sizes[own.ravel()])
    keys = rng.exponential(size=len(vectors)) / weights
    return np.sort(np.argpartition(keys, n_drawn)[:n_drawn])


def _find_boxes(vectors: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """(n_cells, n_axes): the box of each cell."""
    some = rng.choice(len(vectors), min(len(vectors), _MOST_TO_FIND_AXES), replace=False)
    centre = vectors[some].mean(axis=0)
    _, _, axes = np.linalg.svd(vectors[some] - centre, full_matrices=False)
    places = vectors @ axes[:_N_AXES].T - centre @ axes[:_N_AXES].T
    # A few cells far off would otherwise leave all others in one box.
    low, high = np.quantile(places, (0.005, 0.995), axis=0)
    width = np.where(high > low, high - low, 1)
    return np.asarray(np.clip((places - low) / width * _N_BINS, 0, _N_BINS - 1), dtype=np.int64)
