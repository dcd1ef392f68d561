"""Genes that vary more than others of their mean, by which cells can be told apart."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

N_GENES = 2000
_N_BINS = 20


def choose_variable_genes(values: csr_matrix, n_genes: int = N_GENES) -> NDArray[np.int64]:
    """Columns of the genes that vary most, as scanpy's ``highly_variable_genes`` ("seurat").

    The dispersion of a gene, its variance over its mean before the logarithm, is compared with
    those of genes of a like mean, in 20 bins (Satija et al. 2015, doi 10.1038/nbt.3192).

    Parameters
    ----------
    values
        (n_cells, n_genes) log-normalised.
    n_genes
        All that are not constant, where there are fewer.

    Returns
    -------
    Ascending.
    """
    linear = values.expm1()
    mean = np.asarray(linear.mean(axis=0), np.float64).ravel()
    squares = np.asarray(linear.power(2).mean(axis=0), np.float64).ravel()
    n_cells = values.shape[0]
    variance = (squares - mean**2) * n_cells / max(n_cells - 1, 1)
    varying = np.flatnonzero(variance > 1e-12)
    if len(varying) <= n_genes:
        return varying
    dispersion = np.log(variance[varying] / mean[varying])
    scores = _beside_like_genes(np.log1p(mean[varying]), dispersion)
    best = np.argsort(-scores, kind="stable")[:n_genes]
    return np.sort(varying[best])


def _beside_like_genes(
    means: NDArray[np.float64], dispersions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How many standard deviations of its bin each dispersion lies above the bin's mean."""
    edges = np.linspace(means.min(), means.max(), _N_BINS + 1)
    bins = np.clip(np.searchsorted(edges, means, side="left") - 1, 0, _N_BINS - 1)
    scores = np.empty(len(means))
    for each in np.unique(bins):
        own = bins == each
        # A gene alone in its bin gets 1, as in scanpy.
        width = dispersions[own].std(ddof=1) if own.sum() > 1 else 0.0
        scores[own] = (dispersions[own] - dispersions[own].mean()) / width if width > 0 else 1.0
    return scores
