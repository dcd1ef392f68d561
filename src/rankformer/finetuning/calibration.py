"""Whether a probability is what it says: bins of confidence, and how far they are off."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def bin_by_confidence(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], n_bins: int
) -> pd.DataFrame:
    """Sort predictions into bins of like confidence: a reliability curve.

    Parameters
    ----------
    confidence
        (n_cells,) the probability given to the predicted label.
    right
        (n_cells,) whether the label was true.
    n_bins
        Bins of equal width from 0 to 1; each has its upper edge, the first also 0.

    Returns
    -------
    A row a bin: ``lowest``, ``highest`` (its edges), ``n_cells``, ``confidence`` and ``accuracy``
    (means, NaN where it is empty).
    """
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    n_cells = np.bincount(bins, minlength=n_bins)
    filled = np.where(n_cells > 0, n_cells, np.nan)
    return pd.DataFrame(
        {
            "lowest": edges[:-1],
            "highest": edges[1:],
            "n_cells": n_cells,
            "confidence": np.bincount(bins, confidence, n_bins) / filled,
            "accuracy": np.bincount(bins, right, n_bins) / filled,
        }
    )


def expected_calibration_error(bins: pd.DataFrame) -> float:
    """Mean over cells of how far the accuracy of their bin is from its confidence.

    The expected calibration error of Guo et al. 2017 (arXiv:1706.04599): the sum over bins of
    n_bin / n times the absolute difference of accuracy and confidence.
    """
    gaps = (bins["accuracy"] - bins["confidence"]).abs()
    return float((gaps * bins["n_cells"]).sum() / bins["n_cells"].sum())
