"""How far batches are mixed among cells of one label: the entropy of neighbourhoods."""

import numpy as np
from numpy.typing import NDArray

_MOST_NEIGHBOURS = 50
_LEAST_CELLS = 20


def neighbourhood_entropy(batches: NDArray[np.int64], n_batches: int) -> NDArray[np.float64]:
    """Shannon entropy of the batches in each neighbourhood, in nats.

    Parameters
    ----------
    batches
        (n_cells, n_neighbours) codes from 0 of the neighbours' batches.

    Returns
    -------
    (n_cells,): H = -sum of p ln p over batches, p being a batch's share of the neighbours.
    """
    shares = np.stack([(batches == each).mean(axis=1) for each in range(n_batches)], axis=1)
    logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
    return np.asarray(-(shares * logs).sum(axis=1))


def expected_entropy(n_in_batch: NDArray[np.int64], n_neighbours: int) -> float:
    """Mean entropy that neighbourhoods would have, were neighbours drawn whatever their batch.

    The number of neighbours of a batch is then hypergeometric; a cell is not its own neighbour.

    Parameters
    ----------
    n_in_batch
        (n_batches,) cells in each batch.
    """
    from scipy.stats import hypergeom

    n_cells = int(n_in_batch.sum())
    drawn = np.arange(1, n_neighbours + 1)
    terms = -drawn / n_neighbours * np.log(drawn / n_neighbours)
    expected = 0.0
    for own, n_own in enumerate(n_in_batch):
        others = n_in_batch - (np.arange(len(n_in_batch)) == own)
        chances = [hypergeom.pmf(drawn, n_cells - 1, int(each), n_neighbours) for each in others]
        expected += n_own / n_cells * float(np.sum(np.array(chances) @ terms))
    return expected


def score_batch_mixing(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], batches: NDArray[np.int64]
) -> float:
    """Entropy of batch mixing among cells of one label: 1 as drawn at random, 0 not mixed at all.

    The entropy of batch mixing (Haghverdi et al. 2018, doi:10.1038/nbt.4091) over the 50 nearest
    cells of the same label (a quarter of the label's cells, where that is less), over the entropy
    that the same neighbourhoods would have by chance. Within labels, as batches of other
    composition should not be mixed beyond what they have in common.

    Parameters
    ----------
    vectors
        (n_cells, width).
    codes, batches
        (n_cells,) label and batch of each cell, from 0.

    Returns
    -------
    Mean over cells. Labels of one batch or of fewer than 20 cells are left out; NaN if all are.
    """
    found = expected = 0.0
    for label in np.unique(codes):
        rows = np.flatnonzero(codes == label)
        names, own = np.unique(batches[rows], return_inverse=True)
        if len(rows) < _LEAST_CELLS or len(names) < 2:
            continue
        n_neighbours = min(_MOST_NEIGHBOURS, len(rows) // 4)
        neighbours = _nearest(vectors[rows], n_neighbours)
        found += float(neighbourhood_entropy(own[neighbours], len(names)).sum())
        expected += len(rows) * expected_entropy(np.bincount(own), n_neighbours)
    return found / expected if expected else float("nan")


def _nearest(vectors: NDArray[np.float32], n_neighbours: int) -> NDArray[np.int64]:
    """(n_cells, n_neighbours) rows of the nearest others, by Euclidean distance."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=n_neighbours).fit(vectors)
    # Without an argument, a cell is not its own neighbour.
    return np.asarray(search.kneighbors(return_distance=False))
