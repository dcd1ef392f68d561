"""A network of genes in some cells: settings, the run, and its table."""

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import psutil
from numpy.typing import NDArray

from rankformer.embed.cells import check_fits, describe_run
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.networks.coexpression import correlate_genes
from rankformer.networks.known_pairs import (
    KnownPairs,
    check_met,
    find_known_pairs,
    list_known_pairs,
    mark_known,
    measure_recovery,
)
from rankformer.networks.pair_effects import (
    AttentionEffects,
    PairEffects,
    PerturbationEffects,
    SimilarityEffects,
)
from rankformer.networks.pair_sums import BYTES_A_PAIR, PairSums
from rankformer.networks.settings import NetworkSettings
from rankformer.perturb.chosen_cells import count_cells_with_genes, draw_cells, read_blocks
from rankformer.perturb.genes import AskedGenes
from rankformer.progress import show_progress
from rankformer.tokens.token_sources import TokenSource
from rankformer.vocabulary.vocabulary import Vocabulary

logger = logging.getLogger(__name__)
_SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True, eq=False)
class GeneNetwork:
    """Pairs of genes, and how well they find known ones.

    Attributes
    ----------
    edges
        A row a pair; see `build_network`.
    is_directed
        Whether A on B is another thing than B on A.
    provenance
        Model, settings and sources, as plain values.
    recovery, curves
        Of known pairs; see `measure_recovery`. None unless some were given.
    """

    edges: pd.DataFrame
    is_directed: bool
    provenance: dict[str, Any]
    recovery: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None


def build_network(
    streams: Sequence[TokenSource],
    chosen: Sequence[NDArray[np.bool_]],
    embedder: Embedder,
    settings: NetworkSettings,
    known: KnownPairs = None,
) -> GeneNetwork:
    """Measure what genes do to each other in some cells.

    Parameters
    ----------
    streams
        The sources.
    chosen
        Which cells may take part, source by source.
    embedder
        The model.
    settings
        See `NetworkSettings`.
    known
        Pairs: the gene that acts, and the one that it acts upon; see `KnownPairs`.

    Returns
    -------
    The network. Of its edges: ``source_ensembl_id``, ``source``, ``target_ensembl_id``,
    ``target``, the columns of `PairTable.test`, and ``coexpression``, Pearson's correlation of log
    counts over the same cells.

    Raises
    ------
    RankformerError
        If cells, genes, model and settings do not go together.
    """
    vocabulary = embedder.checkpoint.vocabulary
    for stream in streams:
        check_fits(stream, embedder)
    asked = AskedGenes.find(vocabulary, settings.genes, (), None).groups
    named = None if asked is None else np.array([token for (token,) in asked], np.int64)
    named_pairs = list_known_pairs(known)
    known_tokens = find_known_pairs(named_pairs, vocabulary) if named_pairs else None
    effects = _choose_effects(embedder, settings)
    rows = draw_cells(chosen, settings.n_cells, settings.seed)
    tokens = _genes_of_network(streams, rows, embedder, settings.min_cells)
    if known_tokens is not None:
        check_met(known_tokens, tokens)
    acting = _find_acting(tokens, named, effects)
    sums = _measure(effects.of_genes(tokens[acting]), streams, rows, embedder, tokens, acting)
    table = _test(sums, tokens, named, effects, settings.min_cells)
    _add_coexpression(table, sums, streams, rows, tokens)
    recovery = curves = None
    if known_tokens is not None:
        table["known"], could_be = mark_known(
            tokens[table["source"]], tokens[table["target"]], known_tokens,
            is_directed=effects.is_directed,
        )  # fmt: skip
        recovery, curves = measure_recovery(table[could_be]) or (None, None)
    provenance = {
        **describe_run(embedder, "cell", streams), "n_cells": sum(map(len, rows)),
        "n_genes": len(tokens), "n_pairs": len(table),
        "network": {key: str(value) for key, value in asdict(settings).items()},
    }  # fmt: skip
    edges = _name_genes(table.head(settings.top or len(table)), tokens, vocabulary)
    return GeneNetwork(edges, effects.is_directed, provenance, recovery, curves)


def _choose_effects(embedder: Embedder, settings: NetworkSettings) -> PairEffects:
    if settings.by == "perturbation":
        return PerturbationEffects(embedder, settings.kind, settings.share)
    if settings.by == "attention":
        return AttentionEffects(
            embedder,
            cast("tuple[int, ...]", settings.layers),
            cast("tuple[int, ...]", settings.heads),
        )
    return SimilarityEffects(embedder)


def _genes_of_network(
    streams: Sequence[TokenSource],
    rows: Sequence[NDArray[np.int64]],
    embedder: Embedder,
    min_cells: int,
) -> NDArray[np.int64]:
    """Tokens of the genes that enough of the cells have, ascending."""
    tokens = np.flatnonzero(count_cells_with_genes(streams, rows, embedder) >= min_cells)
    if len(tokens) < 2:
        raise SettingsError(
            f"Of {sum(map(len, rows)):,} cells, {min_cells:,} or more have {len(tokens):,} genes "
            "of the vocabulary.",
            "At least two genes.",
            "Take more cells, or lower min_cells (--min-cells).",
        )
    logger.info(
        "The network is measured in %s cells, between %s genes that at least %s of them express.",
        f"{sum(map(len, rows)):,}", f"{len(tokens):,}", f"{min_cells:,}",
    )  # fmt: skip
    return tokens


def _find_acting(
    tokens: NDArray[np.int64], named: NDArray[np.int64] | None, effects: PairEffects
) -> NDArray[np.int64]:
    """Places of the genes that act, as far as there is memory for their pairs."""
    acting = np.arange(len(tokens))
    if named is not None:
        acting = np.flatnonzero(np.isin(tokens, named))
        if not len(acting):
            raise SettingsError(
                "None of the genes named is in enough of the cells.",
                "Genes that these cells express.",
                "Name others (genes, --genes), or lower min_cells (--min-cells).",
            )
        if not effects.is_directed:
            # A pair is seen from both of its genes.
            acting = np.arange(len(tokens))
    needed = len(acting) * len(tokens) * BYTES_A_PAIR
    room = int(_SHARE_OF_MEMORY * psutil.virtual_memory().available)
    if needed > room:
        raise SettingsError(
            f"The pairs of {len(acting):,} genes with {len(tokens):,} take {needed / 1e9:.1f} GB.",
            f"At most half of the memory that is free, {room / 1e9:.1f} GB.",
            "Raise min_cells (--min-cells), so that genes of few cells are left out, or name the "
            "genes that act (genes, --genes).",
        )
    return acting


def _measure(
    effects: PairEffects,
    streams: Sequence[TokenSource],
    rows: Sequence[NDArray[np.int64]],
    embedder: Embedder,
    tokens: NDArray[np.int64],
    acting: NDArray[np.int64],
) -> PairSums:
    sums = PairSums(len(tokens), acting)
    place_of = np.full(embedder.checkpoint.vocabulary.size, -1)
    place_of[tokens] = np.arange(len(tokens))
    with (
        closing(read_blocks(streams, rows, embedder)) as blocks,
        show_progress(sum(map(len, rows)), "Measuring pairs of genes") as progress,
    ):
        for _, ragged in blocks:
            n_done = 0
            for pairs in effects.measure(ragged):
                own = ragged[0][ragged[1][pairs.cell] : ragged[1][pairs.cell + 1]]
                genes = own[embedder.gene_places(np.array([0, len(own)])).places]
                sums.add(pairs, place_of[genes])
                progress(pairs.cell + 1 - n_done)
                n_done = pairs.cell + 1
            progress(len(ragged[1]) - 1 - n_done)
    return sums


def _test(
    sums: PairSums,
    tokens: NDArray[np.int64],
    named: NDArray[np.int64] | None,
    effects: PairEffects,
    min_cells: int,
) -> pd.DataFrame:
    """The pairs that were asked for, tested."""
    pairs = sums.summarise(min_cells, is_directed=effects.is_directed)
    if named is not None and not effects.is_directed:
        pairs = pairs.select(
            np.isin(tokens[pairs.sources], named) | np.isin(tokens[pairs.targets], named)
        )
    return pairs.test()


def _add_coexpression(
    table: pd.DataFrame,
    sums: PairSums,
    streams: Sequence[TokenSource],
    rows: Sequence[NDArray[np.int64]],
    tokens: NDArray[np.int64],
) -> None:
    correlation = correlate_genes(streams, rows, tokens, sums.acting)
    if correlation is None:
        logger.warning("Saved tokens hold no counts: there is no co-expression to compare with.")
    else:
        table["coexpression"] = correlation[sums.row_of[table["source"]], table["target"]]


def _name_genes(
    table: pd.DataFrame, tokens: NDArray[np.int64], vocabulary: Vocabulary
) -> pd.DataFrame:
    named = {}
    for side in ("source", "target"):
        ids = vocabulary.ensembl_id_of[tokens[table[side]]]
        named[f"{side}_ensembl_id"] = ids
        named[side] = np.array([vocabulary.symbol_of.get(each, each) for each in ids], object)
    return pd.DataFrame({**named, **table.drop(columns=["source", "target"])})
