"""Counts scaled to one total in each cell, as by scanpy's ``normalize_total``; and their log1p."""

import numpy as np
from scipy.sparse import csr_matrix, diags_array

_TARGET_SUM = 1e4


def log_normalise(counts: csr_matrix) -> csr_matrix:
    """log1p of `scale_cells`."""
    return scale_cells(counts).log1p()


def scale_cells(counts: csr_matrix) -> csr_matrix:
    """Counts scaled to 10,000 a cell; an empty cell stays empty.

    Parameters
    ----------
    counts
        (n_cells, n_vars), counts or counts scaled per cell.

    Returns
    -------
    The same shape, CSR float32.
    """
    sums = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    factors = _TARGET_SUM / np.where(sums > 0, sums, 1)
    return csr_matrix(diags_array(factors) @ counts, dtype=np.float32)
