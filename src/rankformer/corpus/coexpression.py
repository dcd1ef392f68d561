"""Vectors of genes by the cells that they are found in together.

The leading right singular vectors of a matrix of cells by genes, each gene scaled: latent semantic
analysis, with cells for documents and genes for words (Deerwester et al., JASIS 41, 391, 1990). The
mean of its genes' vectors, weighted by their places, then places a cell by components much as a
principal component analysis does, though nothing is centred. A model whose gene embeddings begin
there starts with what linear methods know, and learns from that.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array
from scipy.sparse.linalg import svds

# The first genes of a cell weigh nearly alike: which of them stands first is chance.
_LIKE_FIRST = 5
# A gene that varies less than this share of the genes is scaled as one at that share: a gene of few
# cells tells little.
_STEADIEST = 0.2


def weights_of_places(places: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much the gene at each place of a cell weighs: 1 at place 0, half of that at place 15."""
    return np.sqrt(_LIKE_FIRST / (places + _LIKE_FIRST))


def coexpression_vectors(weights: csr_matrix, n_dimensions: int, seed: int) -> NDArray[np.float32]:
    """A vector for each gene; genes that go together point the same way.

    Parameters
    ----------
    weights
        (n_cells, n_genes), what each gene weighs in each cell; see `weights_of_places`. Every cell
        is scaled to length 1.
    n_dimensions
        Of the vectors; at most as many as cells and genes, less one, carry something, the others
        are 0.
    seed
        Of the solver's start, which decides signs and nothing else.

    Returns
    -------
    (n_genes, n_dimensions), of length 1 in the median. A gene that does not vary gets zeros.
    """
    cells = _scaled_cells(weights)
    scale = _scale_of_genes(cells)
    n_found = min(n_dimensions, *(length - 1 for length in cells.shape))
    start = np.random.default_rng(seed).normal(size=min(cells.shape))
    _, _, directions = svds(cells @ diags_array(scale), k=n_found, v0=start)
    # Scaled once more, so that a product with a cell's own weights gives its components.
    loadings = directions.T[:, ::-1] * scale[:, None]
    vectors = np.zeros((cells.shape[1], n_dimensions), np.float32)
    vectors[:, :n_found] = _with_evened_lengths(loadings)
    return vectors


def _with_evened_lengths(loadings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors whose lengths are the square roots of what they were, in median 1.

    As they come, genes of few cells have by far the longest ones, and kinds of cells that the
    decomposition has not seen are told apart less well by them.
    """
    lengths = np.linalg.norm(loadings, axis=1, keepdims=True)
    if not lengths.any():
        return loadings
    middle = np.median(lengths[lengths > 0])
    evened: NDArray[np.float64] = loadings / np.sqrt(
        np.maximum(lengths, np.finfo(float).tiny) * middle
    )
    return evened


def _scaled_cells(weights: csr_matrix) -> csr_matrix:
    weights = csr_matrix(weights, dtype=np.float64)
    lengths = np.sqrt(weights.multiply(weights).sum(axis=1)).A1
    return csr_matrix(diags_array(1 / np.maximum(lengths, np.finfo(float).tiny)) @ weights)


def _scale_of_genes(cells: csr_matrix) -> NDArray[np.float64]:
    """(n_genes,) one over the standard deviation of each, within limits; 0 where it is 0."""
    mean = cells.mean(axis=0).A1
    variance = cells.multiply(cells).mean(axis=0).A1 - mean**2
    # Of numbers that are all alike, rounding leaves a little.
    deviation = np.sqrt(np.where(variance > 1e-12 * mean**2, variance, 0))
    varies = deviation > 0
    scale = np.zeros(len(deviation))
    if varies.any():
        least = np.quantile(deviation[varies], _STEADIEST)
        scale[varies] = 1 / np.maximum(deviation[varies], least)
    return scale
