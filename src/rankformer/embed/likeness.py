"""Whether vectors of cells differ at all."""

import logging

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Of fewer cells, that they are alike may be so.
_FEWEST_CELLS, _MOST_CELLS = 20, 1_000
_ALIKE = 0.9999


def tell_alike(vectors: NDArray[np.float32]) -> None:
    """Warn where cells all have nearly the same direction, so that vectors say nothing of them.

    A layer or a token that a model was not trained to describe cells by gives such vectors, and
    clusters and labels made of them are noise.

    Parameters
    ----------
    vectors
        (n_cells, d_model) float32; the first 1,000 are looked at. Rows of NaN are left out.
    """
    cells = np.asarray(vectors[:_MOST_CELLS], np.float64)
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
            "%.6f. They hardly tell kinds of cells apart. Take the mean over genes (--mode cell), "
            "another layer (--emb-layer), or another model.",
            cosine,
        )
