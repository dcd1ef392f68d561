"""What is left of cells whose genes were taken for their orthologs: it is told."""

import logging
from dataclasses import asdict, dataclass

import numpy as np

from rankformer.cells.source import CellSource
from rankformer.genes.mapping import GeneMapping
from rankformer.genes.rules import GeneFate, GeneRule
from rankformer.printable import printable
from rankformer.tokens.sampled_cells import sampled_counts

logger = logging.getLogger(__name__)

# Below this, cells are no longer what they were.
_MOST = 0.6
_OF_ORTHOLOGS = (str(GeneRule.ORTHOLOG_OF_ID), str(GeneRule.ORTHOLOG_OF_NAME))


@dataclass(frozen=True)
class CountsKept:
    """Shares of the counts of genes, each 0 to 1; 0 where there are no counts.

    Attributes
    ----------
    counts_with_ortholog
        In variables that were taken for a human gene.
    counts_kept
        In those of them whose human gene the vocabulary has: what cells are ranked by.
    """

    counts_with_ortholog: float
    counts_kept: float

    @property
    def orthologs_in_vocabulary(self) -> float:
        """Of the counts in human genes, the share in genes that the vocabulary has."""
        return self.counts_kept / self.counts_with_ortholog if self.counts_with_ortholog else 0.0

    def plain(self) -> dict[str, float]:
        """All three shares, for ``uns`` and JSON."""
        shares = {**asdict(self), "orthologs_in_vocabulary": self.orthologs_in_vocabulary}
        return {name: round(share, 4) for name, share in shares.items()}


def count_kept(cells: CellSource, mapping: GeneMapping) -> CountsKept:
    """How much of some cells lies in human genes, and how much of that in the vocabulary.

    It is logged, a warning where much is lost.

    Parameters
    ----------
    cells
        Of which some from all over the file are read.
    mapping
        With the orthologs that were taken.
    """
    totals = np.zeros(mapping.n_vars)
    for counts in sampled_counts(cells):
        totals += np.asarray(counts.sum(axis=0)).ravel()
    of_genes = totals[mapping.fates != GeneFate.NOT_A_GENE].sum() or 1.0
    has_ortholog = np.isin(mapping.rules.astype(str), _OF_ORTHOLOGS)
    kept = CountsKept(
        float(totals[has_ortholog].sum() / of_genes),
        float(totals[mapping.tokens >= 0].sum() / of_genes),
    )
    _tell(mapping, kept)
    return kept


def _tell(mapping: GeneMapping, kept: CountsKept) -> None:
    assert mapping.orthologs is not None  # noqa: S101
    counts, told = mapping.fate_counts, mapping.orthologs
    n_genes, share = mapping.n_vars - counts[GeneFate.NOT_A_GENE], kept.counts_kept
    logger.log(
        logging.WARNING if share < _MOST else logging.INFO,
        "Genes of %s are taken for their human orthologs in %s (%s): %s of %s variables (%.0f %%) "
        "and %.1f %% of the counts are in genes of the vocabulary: %.1f %% of the counts are in "
        "human genes, and of these %.1f %% in those of the vocabulary. %s variables have no "
        "ortholog there, and %s have several of which none is taken.%s",
        told["species"], printable(told["table"]), told["choice"], f"{mapping.n_mapped:,}",
        f"{n_genes:,}", 100 * mapping.n_mapped / max(n_genes, 1), 100 * share,
        100 * kept.counts_with_ortholog, 100 * kept.orthologs_in_vocabulary,
        f"{counts[GeneFate.NO_ORTHOLOG]:,}", f"{counts[GeneFate.SEVERAL_ORTHOLOGS]:,}",
        " Much of each cell is lost: look at the gene report, or take another choice."
        if share < _MOST else "",
    )  # fmt: skip
