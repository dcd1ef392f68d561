"""Groups of cells that an embedding has by itself."""

import numpy as np
from numpy.typing import NDArray

_N_TRIES = 5


def divide_embedding(
    vectors: NDArray[np.floating], n_parts: int, seed: int = 0
) -> NDArray[np.int64]:
    """Divide cells into neighbourhoods of an embedding: k-means on unit vectors.

    Parameters
    ----------
    vectors
        (n_cells, d); NaN where a cell has none.
    n_parts
        How many.
    seed
        Of the beginnings, of which the best of several is taken.

    Returns
    -------
    (n_cells,) the neighbourhood of each cell, the largest first; -1 for cells without a vector.
    """
    from scipy.cluster.vq import kmeans2

    codes = np.full(len(vectors), -1)
    known = np.isfinite(vectors).all(axis=1)
    unit = vectors[known].astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    rng = np.random.default_rng(seed)
    tries = []
    for _ in range(_N_TRIES):
        centres, labels = kmeans2(unit, n_parts, minit="++", rng=rng, missing="warn")
        tries.append((float(((unit - centres[labels]) ** 2).sum()), labels))
    labels = min(tries, key=lambda each: each[0])[1]
    found, sizes = np.unique(labels, return_counts=True)
    rank = np.empty(n_parts, np.int64)
    rank[found[np.argsort(-sizes, kind="stable")]] = np.arange(len(found))
    codes[known] = rank[labels]
    return codes
