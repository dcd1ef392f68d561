"""Figures of the counts of the cells that a report shows."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class CountFigures:
    """Counts at a glance.

    Attributes
    ----------
    counts_per_cell, genes_per_cell
        Medians over cells.
    fewest_genes, most_genes
        Genes with counts of the cell that has the fewest, and the most.
    largest
        The largest count.
    share_of_ones
        Of the counts above 0, the share that are 1.
    is_whole
        Whether all are whole numbers.
    """

    counts_per_cell: float
    genes_per_cell: float
    fewest_genes: int
    most_genes: int
    largest: float
    share_of_ones: float
    is_whole: bool


def measure_counts(counts: csr_matrix) -> CountFigures:
    """Measure (n_cells, n_vars) counts without explicit zeros."""
    per_cell = np.asarray(counts.sum(axis=1)).ravel()
    genes = np.diff(counts.indptr)
    values = counts.data
    return CountFigures(
        float(np.median(per_cell)), float(np.median(genes)), int(genes.min()), int(genes.max()),
        float(values.max(initial=0)), float((values == 1).mean()) if values.size else 0.0,
        bool((values == np.rint(values)).all()),
    )  # fmt: skip
