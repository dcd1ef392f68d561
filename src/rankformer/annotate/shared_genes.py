"""The genes that a reference and the cells to be named both have, among which both are ranked.

A gene that one file lacks takes no rank there, and in the other one it moves all others down: the
same cell would come out as another one. So both are ranked among the genes that both measured.
"""

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.errors import SettingsError
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import TokenStream, read_kept
from rankformer.vocabulary.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

# Of each source, to know which share of its counts is in which genes.
CELLS_LOOKED_AT = 1024
# Beyond this share of the counts, cells are no longer what they were.
_MUCH = 0.25


@dataclass(frozen=True, eq=False)
class MeasuredGenes:
    """The genes of a vocabulary that a source measured.

    Attributes
    ----------
    name
        Of the source.
    genes
        Their tokens, ascending.
    counts
        (n_genes,) the counts that some cells of the source have in each.
    names
        Of each gene its symbol, or its Ensembl id; none where they are not known.
    """

    name: str
    genes: NDArray[np.int32]
    counts: NDArray[np.float64]
    names: tuple[str, ...] = ()

    def lost(self, shared: NDArray[np.int32]) -> float:
        """The share of the counts that lie in other genes than these."""
        total = self.counts.sum()
        return float(self.counts[~np.isin(self.genes, shared)].sum() / total) if total else 0.0


def measured_genes(source: TokenSource) -> MeasuredGenes | None:
    """What a source measured; None of saved tokens, which do not say which genes were measured.

    A gene that is in the file counts as measured, also where no cell has a count of it.
    """
    if not isinstance(source, TokenStream):
        return None
    genes = np.unique(source.mapping.tokens[source.mapping.tokens >= 0]).astype(np.int32)
    stop = min(CELLS_LOOKED_AT, len(source))
    counts = np.zeros(len(genes))
    with closing(read_kept(source.source, source.options, 0, stop)) as blocks:
        for _, block in blocks:
            own = counts_of_genes(block, source.mapping.tokens, genes)
            counts += np.asarray(own.sum(axis=0)).ravel()
    return MeasuredGenes(source.name, genes, counts, names_of(source.vocabulary, genes))


def names_of(vocabulary: Vocabulary, genes: NDArray[np.int32]) -> tuple[str, ...]:
    """The symbol of each gene, or its Ensembl id where it has none."""
    places = np.searchsorted(vocabulary.tokens, genes)
    ids = [vocabulary.ensembl_ids[place] for place in places]
    return tuple(vocabulary.symbol_of.get(each, each) for each in ids)


def counts_of_genes(
    counts: csr_matrix, tokens: NDArray[np.int32], genes: NDArray[np.int32]
) -> csr_matrix:
    """Counts of variables as counts of genes: those of one gene are summed.

    Parameters
    ----------
    counts
        (n_cells, n_vars) of the source.
    tokens
        (n_vars,) which gene each variable is, -1 for none.
    genes
        Tokens, ascending.

    Returns
    -------
    (n_cells, n_genes) CSR float32; counts of other genes are left out.
    """
    rows = np.flatnonzero(np.isin(tokens, genes) & (tokens >= 0))
    columns = np.searchsorted(genes, tokens[rows])
    ones = np.ones(len(rows), np.float32)
    to_genes = csr_matrix((ones, (rows, columns)), shape=(len(tokens), len(genes)))
    summed = csr_matrix(counts.astype(np.float32) @ to_genes)
    summed.sort_indices()
    return summed


@dataclass(frozen=True, eq=False)
class GeneOverlap:
    """The genes that reference and query share, and what is lost.

    Attributes
    ----------
    genes
        Tokens of the genes that all measured, ascending; None where that is not known.
    told
        Plain values: ``n_shared``, and of reference and query ``n_genes`` and ``counts_lost``; or
        ``why_not``.
    is_ranked
        Whether cells are ranked among these genes, and not each file among all of its own.
    names
        Of each gene; none where they are not known.
    """

    genes: NDArray[np.int32] | None
    told: dict[str, Any]
    is_ranked: bool = True
    names: tuple[str, ...] = ()

    @property
    def ranked(self) -> NDArray[np.int32] | None:
        """The genes that cells are ranked among; None where each file is among all of its own."""
        return self.genes if self.is_ranked else None


def share_genes(
    references: Sequence[MeasuredGenes | None], queries: Sequence[MeasuredGenes | None]
) -> GeneOverlap:
    """Find the genes that all sources measured, so that one reference serves all files.

    Raises
    ------
    SettingsError
        If there are none.
    """
    if any(each is None for each in (*references, *queries)):
        which = "reference" if any(each is None for each in references) else "query"
        return not_shared(
            f"the {which} is known as tokens alone, which do not say what was measured"
        )
    own, theirs = _known(references), _known(queries)
    shared = reduce(np.intersect1d, [each.genes for each in (*own, *theirs)]).astype(np.int32)
    if not len(shared):
        raise SettingsError(
            f"No gene of the reference {own[0].name} was measured in {theirs[0].name}.",
            "Genes that all files measured: cells are ranked among these.",
            "Look at both with `rankformer inspect`, and pass --all-genes if they are right.",
        )
    told = {
        "n_shared": len(shared),
        **{f"{side}_{key}": value for side, sources in (("reference", own), ("query", theirs))
           for key, value in _side(sources, shared).items()},
    }  # fmt: skip
    first = theirs[0]
    is_shared = np.isin(first.genes, shared)
    names = tuple(name for name, kept in zip(first.names, is_shared, strict=False) if kept)
    return GeneOverlap(shared, told, names=names)


def not_shared(why: str, known: GeneOverlap | None = None) -> GeneOverlap:
    """Each file is ranked among all genes of its own, whatever genes all of them measured."""
    if known is None:
        return GeneOverlap(None, {"why_not": why}, is_ranked=False)
    return replace(known, told={"why_not": why}, is_ranked=False)


def tell_overlap(overlap: GeneOverlap, *, asked_for: bool = False) -> None:
    """Log what is shared and what is lost; a warning where it is much, or cannot be known.

    Parameters
    ----------
    overlap
        Of reference and query.
    asked_for
        Whether it was asked for that nothing is shared.
    """
    told = overlap.told
    if not overlap.is_ranked:
        logger.log(
            logging.INFO if asked_for else logging.WARNING,
            "Reference and query are ranked among all genes that each has: %s. Where they have "
            "different genes, labels may be wrong.",
            told["why_not"],
        )
        return
    much = max(told["reference_counts_lost"], told["query_counts_lost"]) > _MUCH
    logger.log(
        logging.WARNING if much else logging.INFO,
        "Cells are ranked among the %s genes that reference (%s) and query (%s) share. Left out "
        "with the others are %.1f %% of the counts of the reference and %.1f %% of those of the "
        "query%s.%s",
        f"{told['n_shared']:,}", f"{told['reference_n_genes']:,}", f"{told['query_n_genes']:,}",
        100 * told["reference_counts_lost"], 100 * told["query_counts_lost"],
        _worst(told), " That is much: labels that hang on these genes are lost." if much else "",
    )  # fmt: skip


def overlap_line(overlap: GeneOverlap) -> str:
    """The same in a line, for the end of a command."""
    told = overlap.told
    if not overlap.is_ranked:
        return "Reference and query were ranked among all genes that each has."
    return (
        f"Ranked among {told['n_shared']:,} shared genes; of the counts, "
        f"{100 * told['reference_counts_lost']:.1f} % of the reference and "
        f"{100 * told['query_counts_lost']:.1f} % of the query lie in other genes."
    )


def _known(sources: Sequence[MeasuredGenes | None]) -> list[MeasuredGenes]:
    return [each for each in sources if each is not None]


def _side(sources: Sequence[MeasuredGenes], shared: NDArray[np.int32]) -> dict[str, Any]:
    """Of several files the worst is told: it decides for all."""
    lost = [each.lost(shared) for each in sources]
    fewest = min(sources, key=lambda each: len(each.genes))
    return {
        "n_genes": len(fewest.genes),
        "counts_lost": round(max(lost), 4),
        "fewest_genes_in": fewest.name,
        "n_files": len(sources),
    }


def _worst(told: dict[str, Any]) -> str:
    """Which of several files has the fewest genes."""
    named = [
        f"{told[f'{side}_fewest_genes_in']} has the fewest genes of the {side}"
        for side in ("reference", "query") if told[f"{side}_n_files"] > 1
    ]  # fmt: skip
    return f" ({', and '.join(named)})" if named else ""
