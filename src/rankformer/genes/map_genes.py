"""From the identifiers of a file to the genes of a vocabulary, with an account of each variable.

The rules and their order stand in :class:`rankformer.genes.rules.GeneRule`.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.genes.columns import GeneColumn, candidate_columns, named_column
from rankformer.genes.complaints import (
    complain_of_few,
    complain_of_species,
    expect_other_species,
    refuse_human,
)
from rankformer.genes.given_tables import check_tables
from rankformer.genes.identifiers import (
    count_ensembl_ids,
    distinct_identifiers,
)
from rankformer.genes.mapping import GeneMapping
from rankformer.genes.ortholog_rules import OrthologResolver
from rankformer.genes.orthologs import OrthologTable
from rankformer.genes.recognised_share import check_share
from rankformer.genes.rules import GeneFate, GeneMatch, GeneResolver, Resolver
from rankformer.genes.species import can_be_of
from rankformer.genes.tables import GeneTable, gene_table_from_pyensembl
from rankformer.vocabulary.vocabulary import Vocabulary

_log = logging.getLogger(__name__)

# A column of symbols has to map this much more than one of Ensembl ids to be taken instead of it.
_SYMBOLS_MUST_EXCEED = 1.05
# Cells filtered by the usual rules keep half of a published vocabulary and more.
_FEW_GENES = 0.25


def map_genes(
    var: pd.DataFrame,
    vocabulary: Vocabulary,
    *,
    gene_ids: str | None = None,
    gene_table: GeneTable | None = None,
    pyensembl_genome: Any = None,
    min_recognised: float = 0.5,
    orthologs: OrthologTable | None = None,
) -> GeneMapping:
    """Map variables, as the public function of this name does for whatever it is given.

    See `rankformer.tokens.gene_tokens.map_genes`, with which it shares arguments and errors.
    """
    check_share(min_recognised)
    check_tables(gene_table, orthologs)
    columns = [named_column(var, gene_ids)] if gene_ids is not None else candidate_columns(var)
    more = None if pyensembl_genome is None else gene_table_from_pyensembl(pyensembl_genome)
    own = _make_resolver(vocabulary, gene_table, more)
    resolver: Resolver = own
    if orthologs is not None:
        expect_other_species(own.species, orthologs)
        resolver = _make_ortholog_resolver(orthologs, own)
    tried = _resolve_all(columns, resolver)
    chosen = _choose(tried)
    if orthologs is not None:
        _expect_not_human(chosen, own, orthologs.species)
    _expect_species(tried, chosen, resolver.species, is_translated=orthologs is not None)
    mapping = _account(chosen, vocabulary, resolver.species, orthologs)
    complain_of_few(mapping, min_recognised, [resolved.column.name for resolved in tried])
    _note(mapping, len(vocabulary.ensembl_ids))
    return mapping


# Its tables and what it has resolved serve the next file too.
_make_resolver = lru_cache(maxsize=2)(GeneResolver)
_make_ortholog_resolver = lru_cache(maxsize=2)(OrthologResolver)


@dataclass(frozen=True)
class _Resolved:
    column: GeneColumn
    codes: NDArray[np.int64]
    texts: list[str]
    matches: list[GeneMatch]

    @cached_property
    def n_mapped(self) -> int:
        return [match.fate for match in self.matches].count(GeneFate.MAPPED)

    @cached_property
    def holds_ensembl_ids(self) -> bool:
        return 2 * count_ensembl_ids(self.texts) > len(self.texts)


def _resolve_all(columns: Iterable[GeneColumn], resolver: Resolver) -> list[_Resolved]:
    """Resolve each column; those that say the same, as an index and its copy do, only once."""
    tried: list[_Resolved] = []
    for column in columns:
        codes, texts = distinct_identifiers(column.identifiers)
        same = (each for each in tried if each.texts == texts and np.array_equal(each.codes, codes))
        known = next(same, None)
        matches = known.matches if known else _match_rows(column, codes, texts, resolver)
        tried.append(_Resolved(column, codes, texts, matches))
    return tried


def _match_rows(
    column: GeneColumn, codes: NDArray[np.int64], texts: list[str], resolver: Resolver
) -> list[GeneMatch]:
    neighbours = frozenset(texts)
    of_text = [resolver.resolve(text, neighbours) for text in texts]
    of_text.append(GeneMatch(None, None, GeneFate.NOT_A_GENE))
    rows = np.where(column.is_gene, codes, len(texts)).tolist()
    return [of_text[row] for row in rows]


def _choose(tried: Sequence[_Resolved]) -> _Resolved:
    """Take what maps most; at a tie the first, which is the index where it was tried."""
    best = max(tried, key=lambda each: each.n_mapped)
    with_ids = [each for each in tried if each.holds_ensembl_ids]
    best_ids = max(with_ids, key=lambda each: each.n_mapped, default=best)
    return best if best.n_mapped > _SYMBOLS_MUST_EXCEED * best_ids.n_mapped else best_ids


def _expect_not_human(chosen: _Resolved, human: Resolver, species: str) -> None:
    """Raise where more identifiers are of human genes than of those that have orthologs.

    Symbols of pig or macaque are written as human ones are, and mostly the same: they tell nothing.
    """
    matches = _match_rows(chosen.column, chosen.codes, chosen.texts, human)
    texts = (chosen.texts[code] for code in chosen.codes)
    of_human = [
        text
        for text, match in zip(texts, matches, strict=True)
        if match.fate is GeneFate.MAPPED and not can_be_of(text, species)
    ]
    if len(of_human) > chosen.n_mapped:
        refuse_human(chosen.column.name, of_human, int(chosen.column.is_gene.sum()), species)


def _expect_species(
    tried: Sequence[_Resolved], chosen: _Resolved, own: str, *, is_translated: bool
) -> None:
    """Raise where the identifiers are of another species, in the column taken or beside it.

    Symbols of many mammals look human; then only a column of Ensembl ids beside them tells.
    """
    for each in tried:
        if each is chosen or not chosen.holds_ensembl_ids:
            complain_of_species(
                each.column.name,
                np.array(each.texts, dtype=object)[each.codes],
                each.matches,
                own,
                beside=None if each is chosen else chosen.column.name,
                is_translated=is_translated,
            )


def _account(
    chosen: _Resolved, vocabulary: Vocabulary, species: str, orthologs: OrthologTable | None
) -> GeneMapping:
    token_of, symbol_of = vocabulary.token_of, vocabulary.symbol_of
    ensembl_ids: list[Any] = [match.ensembl_id for match in chosen.matches]
    return GeneMapping(
        column=chosen.column.name,
        identifiers=np.array(chosen.texts, dtype=object)[chosen.codes],
        ensembl_ids=_objects(ensembl_ids),
        tokens=np.array([token_of.get(each, -1) for each in ensembl_ids], dtype=np.int32),
        rules=_objects([match.rule for match in chosen.matches]),
        fates=_objects([match.fate for match in chosen.matches]),
        symbols=_objects([symbol_of.get(each) for each in ensembl_ids]),
        vocabulary_name=vocabulary.name,
        vocabulary_sha256=vocabulary.sha256,
        species=species,
        orthologs=None if orthologs is None else orthologs.told(),
    )


def _objects(values: list[Any]) -> NDArray[np.object_]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _note(mapping: GeneMapping, n_known: int) -> None:
    _log.info(
        "Genes by %r: %s of %s variables mapped to %s genes of the vocabulary %s.",
        mapping.column,
        f"{mapping.n_mapped:,}",
        f"{mapping.n_vars:,}",
        f"{mapping.n_genes:,}",
        mapping.vocabulary_name,
    )
    if mapping.n_genes < _FEW_GENES * n_known:
        _log.warning(
            "The file has %s of the %s genes of the vocabulary %s, as after choosing variable "
            "genes. Cells are then ranked among few genes, unlike those that the model was trained "
            "on: take the file with all genes where there is one.",
            f"{mapping.n_genes:,}", f"{n_known:,}", mapping.vocabulary_name,
        )  # fmt: skip
