"""From the identifiers of a file to the genes of a vocabulary, with an account of each variable.

The rules and their order stand in :class:`rankformer.data.gene_rules.GeneRule`.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.data.gene_columns import GeneColumn, candidate_columns, named_column
from rankformer.data.gene_complaints import complain_of_few, complain_of_species
from rankformer.data.gene_rules import GeneFate, GeneMatch, GeneResolver, GeneRule
from rankformer.data.gene_tables import GeneTable, gene_table_from_pyensembl
from rankformer.data.identifiers import (
    IdentifierSummary,
    count_ensembl_ids,
    detect_identifiers,
    distinct_identifiers,
)
from rankformer.errors import SettingsError
from rankformer.vocabulary import Vocabulary

__all__ = [
    "GeneFate",
    "GeneMapping",
    "GeneRule",
    "IdentifierSummary",
    "detect_identifiers",
    "map_genes",
]

_log = logging.getLogger(__name__)

_RECOGNISED = (GeneFate.MAPPED, GeneFate.OUTSIDE, GeneFate.AMBIGUOUS)
# A column of symbols has to map this much more than one of Ensembl ids to be taken instead of it.
_SYMBOLS_MUST_EXCEED = 1.05
# Cells filtered by the usual rules keep half of a published vocabulary and more.
_FEW_GENES = 0.25


@dataclass(frozen=True, eq=False)
class GeneMapping:
    """Which gene of a vocabulary each variable is, and why.

    Attributes
    ----------
    column
        Where the identifiers stood: "index", or the column of ``var``.
    identifiers
        (n_vars,) str: as in the file, less white space; "" where missing.
    ensembl_ids
        (n_vars,) str, or None where the variable was not resolved.
    tokens
        (n_vars,) int32: token of the vocabulary, -1 for none. Variables may share one.
    rules
        (n_vars,) GeneRule, or None where no rule answered.
    fates
        (n_vars,) GeneFate.
    symbols
        (n_vars,) str: symbol of the gene as the vocabulary has it, or None.
    vocabulary_name, vocabulary_sha256
        The vocabulary that the tokens are of.
    species
        Of the genes in the vocabulary, "human" for the published ones.
    """

    column: str
    identifiers: NDArray[np.object_]
    ensembl_ids: NDArray[np.object_]
    tokens: NDArray[np.int32]
    rules: NDArray[np.object_]
    fates: NDArray[np.object_]
    symbols: NDArray[np.object_]
    vocabulary_name: str
    vocabulary_sha256: str
    species: str

    @property
    def n_vars(self) -> int:
        return len(self.tokens)

    @cached_property
    def n_mapped(self) -> int:
        """Variables that have a token."""
        return int(np.count_nonzero(self.tokens >= 0))

    @cached_property
    def n_genes(self) -> int:
        """Different genes of the vocabulary that are met."""
        return len(np.unique(self.tokens[self.tokens >= 0]))

    @cached_property
    def variables_summed(self) -> NDArray[np.int64]:
        """(n_vars,) how many variables have the token of this one; 0 without a token."""
        mapped = self.tokens >= 0
        times = np.bincount(self.tokens[mapped], minlength=1)
        return np.where(mapped, times[np.maximum(self.tokens, 0)], 0)

    @property
    def n_summed(self) -> int:
        """Variables that share their gene with another: their counts are summed."""
        return int(np.count_nonzero(self.variables_summed > 1))

    @cached_property
    def fate_counts(self) -> dict[GeneFate, int]:
        """Variables of each fate."""
        counts = Counter(self.fates.tolist())
        return {fate: counts[fate] for fate in GeneFate}

    @cached_property
    def rule_counts(self) -> dict[GeneRule, int]:
        """Mapped variables by the rule that resolved them, in the order of the rules."""
        counts = Counter(self.rules[self.tokens >= 0].tolist())
        return {rule: counts[rule] for rule in GeneRule if counts[rule]}

    @property
    def n_recognised(self) -> int:
        """Variables known to be genes of the species: mapped, outside, or ambiguous."""
        return sum(self.fate_counts[fate] for fate in _RECOGNISED)

    @property
    def recognised_share(self) -> float:
        """Share recognised of the variables that are genes, and not of another species."""
        counts = self.fate_counts
        apart = counts[GeneFate.NOT_A_GENE] + counts[GeneFate.OTHER_SPECIES]
        return self.n_recognised / max(self.n_vars - apart, 1)

    def report(self) -> pd.DataFrame:
        """Give one row a variable, in their order.

        Returns
        -------
        Columns ``identifier``, ``ensembl_id``, ``symbol``, ``token`` (-1 for none), ``fate``,
        ``rule`` and ``variables_summed``; missing text is "".
        """
        return pd.DataFrame(
            {
                "identifier": self.identifiers,
                "ensembl_id": _text_or_empty(self.ensembl_ids),
                "symbol": _text_or_empty(self.symbols),
                "token": self.tokens,
                "fate": _text_or_empty(self.fates),
                "rule": _text_or_empty(self.rules),
                "variables_summed": self.variables_summed,
            }
        )

    def summary(self) -> dict[str, Any]:
        """Give the figures as plain strings, numbers and dictionaries, as ``uns`` can hold them."""
        return {
            "column": self.column,
            "vocabulary": self.vocabulary_name,
            "vocabulary_sha256": self.vocabulary_sha256,
            "n_vars": self.n_vars,
            "n_mapped": self.n_mapped,
            "n_genes": self.n_genes,
            "n_summed": self.n_summed,
            "recognised_share": round(self.recognised_share, 4),
            "fates": {str(fate): count for fate, count in self.fate_counts.items()},
            "rules": {str(rule): count for rule, count in self.rule_counts.items()},
        }

    def __repr__(self) -> str:
        return (
            f"GeneMapping({self.n_mapped:,} of {self.n_vars:,} variables by {self.column!r} → "
            f"{self.n_genes:,} genes of {self.vocabulary_name})"
        )


def map_genes(
    var: pd.DataFrame,
    vocabulary: Vocabulary,
    *,
    gene_ids: str | None = None,
    gene_table: GeneTable | None = None,
    pyensembl_genome: Any = None,
    min_recognised: float = 0.5,
) -> GeneMapping:
    """Map variables, as the public function of this name does for whatever it is given.

    See `rankformer.tasks.gene_tokens.map_genes`, with which it shares arguments and errors.
    """
    check_share(min_recognised)
    columns = [named_column(var, gene_ids)] if gene_ids is not None else candidate_columns(var)
    more = None if pyensembl_genome is None else gene_table_from_pyensembl(pyensembl_genome)
    resolver = _make_resolver(vocabulary, gene_table, more)
    tried = _resolve_all(columns, resolver)
    chosen = _choose(tried)
    _expect_species(tried, chosen, resolver.species)
    mapping = _account(chosen, vocabulary, resolver.species)
    complain_of_few(mapping, min_recognised, [resolved.column.name for resolved in tried])
    _note(mapping, len(vocabulary.ensembl_ids))
    return mapping


def check_share(min_recognised: float) -> None:
    """Raise a `SettingsError` unless it is between 0 and 1."""
    if 0 <= min_recognised <= 1:
        return
    raise SettingsError(
        f"min_recognised is {min_recognised}.",
        "A share between 0 and 1, 0.5 by default.",
        "Pass min_recognised=0.5 (--min-recognised 0.5).",
    )


# Its tables and what it has resolved serve the next file too.
_make_resolver = lru_cache(maxsize=2)(GeneResolver)


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


def _resolve_all(columns: Iterable[GeneColumn], resolver: GeneResolver) -> list[_Resolved]:
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
    column: GeneColumn, codes: NDArray[np.int64], texts: list[str], resolver: GeneResolver
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


def _expect_species(tried: Sequence[_Resolved], chosen: _Resolved, own: str) -> None:
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
            )


def _account(chosen: _Resolved, vocabulary: Vocabulary, species: str) -> GeneMapping:
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
    )


def _objects(values: list[Any]) -> NDArray[np.object_]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _text_or_empty(values: NDArray[np.object_]) -> list[str]:
    return ["" if value is None else str(value) for value in values]


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
