"""Vectors of genes by the cells that they are found in together.

The leading right singular vectors of the matrix of cells by genes (is the gene there?), centred
and scaled by gene: latent semantic analysis, with cells for documents and genes for words
(Deerwester et al., JASIS 41, 391, 1990). A model whose gene embeddings begin there starts with what
linear methods know, and learns from that.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import LinearOperator, svds

# A gene found in fewer cells than this share is scaled as one found in so many: it tells little.
_RARE = 0.01


def coexpression_vectors(presence: csr_matrix, n_dimensions: int, seed: int) -> NDArray[np.float32]:
    """A unit vector for each gene; genes that go together point the same way.

    Parameters
    ----------
    presence
        (n_cells, n_genes), 1 where a cell has a gene.
    n_dimensions
        Of the vectors; at most as many as cells and genes, less one, carry something, the others
        are 0.
    seed
        Of the solver's start, which decides signs and nothing else.

    Returns
    -------
    (n_genes, n_dimensions); a gene that no cell or every cell has gets zeros.
    """
    presence = presence.astype(np.float64)
    share = np.asarray(presence.sum(axis=0)).ravel() / presence.shape[0]
    scale = 1 / np.sqrt(np.maximum(share * (1 - share), _RARE * (1 - _RARE)))
    n_found = min(n_dimensions, *(length - 1 for length in presence.shape))
    centred = _centred(presence, share, scale)
    start = np.random.default_rng(seed).normal(size=min(presence.shape))
    _, strengths, directions = svds(centred, k=n_found, v0=start)
    loadings = directions.T[:, ::-1] * strengths[::-1]
    vectors = np.zeros((presence.shape[1], n_dimensions), np.float32)
    lengths = np.linalg.norm(loadings, axis=1, keepdims=True)
    told = (share > 0) & (share < 1)
    vectors[told, :n_found] = loadings[told] / np.maximum(lengths[told], np.finfo(float).tiny)
    return vectors


def _centred(
    presence: csr_matrix, share: NDArray[np.float64], scale: NDArray[np.float64]
) -> LinearOperator:
    """``(presence - share) * scale`` without the dense matrix."""
    transposed = presence.T.tocsr()

    def times(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = scale * vector.ravel()
        product: NDArray[np.float64] = presence @ scaled - share @ scaled
        return product

    def transposed_times(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        vector = vector.ravel()
        product: NDArray[np.float64] = scale * (transposed @ vector - share * vector.sum())
        return product

    return LinearOperator(presence.shape, matvec=times, rmatvec=transposed_times, dtype=np.float64)
