"""Whether vectors of cells differ at all."""

import logging

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Of fewer cells, that they are alike may be so.
_FEWEST_CELLS = 20
# Of many cells, so many stretches of so many are looked at, as files may be sorted.
_N_STRETCHES, _LENGTH = 10, 100
_ALIKE = 0.9999


def tell_alike(vectors: NDArray[np.float32]) -> None:
    """Warn where cells all have nearly the same direction, so that vectors say nothing of them.

    A layer or a token that a model was not trained to describe cells by gives such vectors, and
    clusters and labels made of them are noise.

    Parameters
    ----------
    vectors
        (n_cells, d_model) float32, or what gives rows as it does; about 1,000 are looked at, from
        all over. Rows of NaN are left out.
    """
    starts = np.arange(0, len(vectors), max(len(vectors) // _N_STRETCHES, _LENGTH)).tolist()
    if not starts:
        return
    cells = np.concatenate([vectors[at : at + _LENGTH] for at in starts]).astype(np.float64)
    lengths = np.linalg.norm(cells, axis=1)
    cells = cells[lengths > 0] / lengths[lengths > 0, None]
    n_cells = len(cells)
    if n_cells < _FEWEST_CELLS:
        return
    # The square of a sum of unit vectors is the sum of the cosines of all pairs.
    cosine = (np.square(cells.sum(axis=0)).sum() - n_cells) / (n_cells * (n_cells - 1))
    if cosine > _ALIKE:
        logger.warning(
            "The vectors of these cells hardly differ: between two of them, the mean cosine is "
            "%.6f. They hardly tell kinds of cells apart. Another mode, another layer or another "
            "model may tell more.",
            cosine,
        )
