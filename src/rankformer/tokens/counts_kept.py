"""What is left of cells whose genes were taken for their orthologs: it is told."""

import logging

import numpy as np

from rankformer.cells.source import CellSource
from rankformer.genes.mapping import GeneMapping
from rankformer.genes.rules import GeneFate
from rankformer.printable import printable
from rankformer.tokens.sampled_cells import sampled_counts

logger = logging.getLogger(__name__)

# Below this, cells are no longer what they were.
_MOST = 0.6


def share_of_counts(cells: CellSource, mapping: GeneMapping) -> float:
    """The share of the counts of genes that lies in variables with a token, of some cells.

    What was kept of variables and counts is logged, a warning where much is lost.

    Parameters
    ----------
    cells
        Of which some from all over the file are read.
    mapping
        With the orthologs that were taken.

    Returns
    -------
    0 to 1; 0 where these cells have no counts.
    """
    totals = np.zeros(mapping.n_vars)
    for counts in sampled_counts(cells):
        totals += np.asarray(counts.sum(axis=0)).ravel()
    of_genes = totals[mapping.fates != GeneFate.NOT_A_GENE].sum()
    share = float(totals[mapping.tokens >= 0].sum() / of_genes) if of_genes else 0.0
    _tell(mapping, share)
    return round(share, 4)


def _tell(mapping: GeneMapping, share: float) -> None:
    assert mapping.orthologs is not None  # noqa: S101
    counts, told = mapping.fate_counts, mapping.orthologs
    n_genes = mapping.n_vars - counts[GeneFate.NOT_A_GENE]
    logger.log(
        logging.WARNING if share < _MOST else logging.INFO,
        "Genes of %s are taken for their human orthologs in %s (%s): %s of %s variables (%.0f %%) "
        "and %.1f %% of the counts are in genes of the vocabulary. %s have no ortholog there, and "
        "%s have several of which none is taken.%s",
        told["species"], printable(told["table"]), told["choice"], f"{mapping.n_mapped:,}",
        f"{n_genes:,}", 100 * mapping.n_mapped / max(n_genes, 1), 100 * share,
        f"{counts[GeneFate.NO_ORTHOLOG]:,}", f"{counts[GeneFate.SEVERAL_ORTHOLOGS]:,}",
        " Much of each cell is lost: look at the gene report, or take another choice."
        if share < _MOST else "",
    )  # fmt: skip
