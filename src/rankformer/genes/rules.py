"""The rules that turn one identifier into one gene, in the order they are tried."""

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Protocol

from rankformer.genes.ensembl_ids import gene_ids_within, written_gene_id
from rankformer.genes.species import (
    HUMAN,
    RODENT,
    gene_id_of,
    is_foreign_symbol,
    is_only_rodent,
    other_species_of,
    remove_genome,
    species_of_gene_id,
    species_of_genes,
)
from rankformer.genes.tables import GeneTable, Names


class GeneRule(StrEnum):
    """How an identifier was resolved. The first rule that answers, in this order, decides."""

    ENSEMBL_ID = "Ensembl id"
    """An Ensembl id as it stands, but for case and white space around it."""
    VERSION_REMOVED = "Ensembl id, version removed"
    """``ENSG00000141510.17``, ``ENSG00000002586.20_PAR_Y`` and the older ``ENSGR0000002586``."""
    RETIRED_ID = "retired Ensembl id"
    """An Ensembl id that the checkpoint's dictionaries know to be another one now."""
    EMBEDDED_ID = "Ensembl id within the identifier"
    """``TP53_ENSG00000141510``; two different ids in one identifier are ambiguous."""
    TABLE_SYMBOL = "table: symbol"
    """The approved symbol, or the identifier column, of the table that the user named."""
    TABLE_PREVIOUS = "table: previous symbol"
    TABLE_ALIAS = "table: alias"
    SYMBOL = "symbol"
    """A symbol of the checkpoint's dictionaries, as it stands."""
    SYMBOL_UPPER_CASE = "symbol, upper case"
    ALIAS = "alias or previous symbol"
    """An alias of the checkpoint's dictionaries, in upper case."""
    PYENSEMBL = "pyensembl: symbol"
    GENOME_REMOVED = "genome prefix removed"
    """``GRCh38_TP53``, ``hg19___ENSG00000141510``: what is left goes through the rules above."""
    MADE_UNIQUE = "suffix of a duplicate removed"
    """``TBCE-1``, where ``TBCE`` is in the data as well: ``TBCE`` goes through the rules above."""
    ORTHOLOG_OF_ID = "ortholog of the Ensembl id"
    """The human ortholog of a gene of another species, in the table that the user named."""
    ORTHOLOG_OF_NAME = "ortholog of the symbol"
    """The same, for a gene that goes by another name than its id."""


class GeneFate(StrEnum):
    """What became of a variable."""

    MAPPED = "mapped"
    OUTSIDE = "known gene, not in the vocabulary"
    AMBIGUOUS = "ambiguous, not guessed"
    OTHER_SPECIES = "of another species"
    NOT_A_GENE = "not a gene expression feature"
    UNKNOWN = "unknown"
    NO_ORTHOLOG = "no human ortholog in the table"
    SEVERAL_ORTHOLOGS = "several orthologs, none taken"


class GeneMatch(NamedTuple):
    """One identifier's gene: its Ensembl id (None if it has none), the rule and the fate.

    `species` names the other species that an unresolved identifier is written like.
    """

    ensembl_id: str | None
    rule: GeneRule | None
    fate: GeneFate
    species: str | None = None


_LookUp = Callable[[str, str], tuple[str, ...]]
_MADE_UNIQUE = re.compile(r"(.+)[-.]\d{1,2}")
_REMEMBERED = 2**17
# What str() makes of a missing value. NAN and NA are aliases of genes.
_MISSING = frozenset(("", "nan", "NaN", "None", "<NA>", "NaT"))


class KnownGenes(Protocol):
    """What a `Vocabulary` knows of genes; so may a table of the genes of a species."""

    @property
    def ensembl_ids(self) -> Sequence[str]: ...

    @property
    def token_of(self) -> Mapping[str, int]: ...

    @property
    def symbols(self) -> Mapping[str, str]: ...

    @property
    def aliases(self) -> Mapping[str, str]: ...


class Resolver(Protocol):
    """Finds the genes of identifiers; see `GeneResolver`."""

    @property
    def species(self) -> str: ...

    def resolve(self, identifier: str, neighbours: Container[str] = ()) -> GeneMatch: ...


class GeneResolver:
    """Resolves identifiers against a vocabulary and the tables that a user brings.

    Parameters
    ----------
    vocabulary
        Gives tokens, and symbols, aliases and retired ids as far as its dictionaries know them.
    table
        A table that the user named: goes before the vocabulary's own names.
    pyensembl_table
        Names of a pyensembl database: go after them.
    species
        Of the genes in the vocabulary; their ids tell it unless given.

    Attributes
    ----------
    species
        Identifiers of any other are foreign.
    """

    def __init__(
        self,
        vocabulary: KnownGenes,
        table: GeneTable | None = None,
        pyensembl_table: GeneTable | None = None,
        species: str | None = None,
    ) -> None:
        self.species = species or species_of_genes(vocabulary.ensembl_ids)
        self._token_of = dict(vocabulary.token_of)
        self._id_of_upper = {each.upper(): each for each in vocabulary.ensembl_ids}
        self._symbols = vocabulary.symbols
        self._aliases = dict(vocabulary.aliases)  # looked up often; a view is slower
        self._upper_symbols = _fold_symbols(vocabulary.symbols)
        self._name_rules: list[tuple[GeneRule, _LookUp]] = [
            *(self._table_rules(table) if table is not None else ()),
            (GeneRule.SYMBOL, self._symbol),
            (GeneRule.SYMBOL_UPPER_CASE, lambda _, upper: self._upper_symbols.get(upper, ())),
            (GeneRule.ALIAS, self._alias),
            *(self._pyensembl_rules(pyensembl_table) if pyensembl_table is not None else ()),
        ]
        # Files of one reference have the same identifiers.
        self._by_itself = lru_cache(_REMEMBERED)(self._resolve_by_itself)
        self._unresolved = lru_cache(_REMEMBERED)(self._say_unresolved)

    def resolve(self, identifier: str, neighbours: Container[str] = ()) -> GeneMatch:
        """Find the gene of one identifier.

        Parameters
        ----------
        identifier
            Anything a variable may be called; white space around it does not matter.
        neighbours
            A set of the other identifiers of the data, for names made unique.
        """
        text = identifier.strip()
        if text in _MISSING:
            return GeneMatch(None, None, GeneFate.UNKNOWN)
        return (
            self._by_itself(text)
            or self._by_made_unique(text, neighbours)
            or self._unresolved(text)
        )

    def _resolve_by_itself(self, text: str) -> GeneMatch | None:
        """Rules 1 to 12, which look at nothing but the identifier."""
        return (
            self._by_ensembl_id(text.upper())
            or self._by_name(text)
            or self._by_genome_removed(text)
        )

    def _by_ensembl_id(self, upper: str) -> GeneMatch | None:
        """Rules 1 to 4, for ids that the vocabulary knows."""
        current = self._current_id(upper)
        if current is not None:
            return self._match((current,), GeneRule.ENSEMBL_ID)
        if "ENS" not in upper:
            return None
        plain = self._plain_id(upper)
        if plain is None:
            return self._by_embedded_id(upper)
        if self._current_id(plain) is not None:
            return self._match((plain,), GeneRule.VERSION_REMOVED)
        return self._match((plain,), GeneRule.RETIRED_ID) if plain in self._aliases else None

    def _current_id(self, upper: str) -> str | None:
        known = self._id_of_upper.get(upper)
        return upper if known is None and self._aliases.get(upper) == upper else known

    def _plain_id(self, upper: str) -> str | None:
        written = written_gene_id(upper)
        if written in self._token_of:  # V1 has tokens for some ENSGR ids
            return written
        return self._own_id(upper)

    def _own_id(self, text: str) -> str | None:
        """Return the gene id without version or PAR mark; None if it is none of the species."""
        plain = gene_id_of(text)
        return plain if plain and species_of_gene_id(plain) == self.species else None

    def _by_embedded_id(self, upper: str) -> GeneMatch | None:
        if remove_genome(upper, self.species) is not None:
            return None
        own = filter(None, map(self._own_id, gene_ids_within(upper)))
        within = tuple(dict.fromkeys(own))
        return self._match(within, GeneRule.EMBEDDED_ID) if within else None

    def _by_name(self, text: str) -> GeneMatch | None:
        """Rules 5 to 11: the tables' and the vocabulary's names."""
        # In another case the symbol of a mouse gene would look like the human one.
        upper = "" if is_foreign_symbol(text, self.species) else text.upper()
        for rule, look_up in self._name_rules:
            found = look_up(text, upper)
            if found:
                return self._match(found, rule)
        return None

    def _by_genome_removed(self, text: str) -> GeneMatch | None:
        rest = remove_genome(text, self.species)
        if rest is None:
            return None
        return self.resolve(rest)._replace(rule=GeneRule.GENOME_REMOVED)

    def _by_made_unique(self, text: str, neighbours: Container[str]) -> GeneMatch | None:
        base = base_of_made_unique(text, neighbours)
        match = self.resolve(base) if base else None
        return match._replace(rule=GeneRule.MADE_UNIQUE) if match and match.rule else None

    def _say_unresolved(self, text: str) -> GeneMatch:
        plain = self._own_id(text)
        if plain is not None:
            return GeneMatch(plain, _rule_of_id(text.upper(), plain), GeneFate.OUTSIDE)
        species = other_species_of(text, self.species)
        known = self._is_known_but_for_case(text)
        if species is None and known and is_foreign_symbol(text, self.species):
            species = HUMAN
        sure = species is not None and (species != RODENT or known or is_only_rodent(text))
        fate = GeneFate.OTHER_SPECIES if sure else GeneFate.UNKNOWN
        return GeneMatch(None, None, fate, species)

    def _is_known_but_for_case(self, text: str) -> bool:
        """Whether a name in the manner of another species is more than an odd name (Vault)."""
        upper = text.upper()
        return upper in self._upper_symbols or upper in self._aliases

    def _match(self, ensembl_ids: tuple[str, ...], rule: GeneRule) -> GeneMatch:
        gene = self._aliases.get(ensembl_ids[0], ensembl_ids[0])
        others = ensembl_ids[1:]
        if others and any(self._aliases.get(each, each) != gene for each in others):
            return GeneMatch(None, rule, GeneFate.AMBIGUOUS)
        fate = GeneFate.MAPPED if gene in self._token_of else GeneFate.OUTSIDE
        return GeneMatch(gene, rule, fate)

    def _symbol(self, text: str, _: str) -> tuple[str, ...]:
        gene = self._symbols.get(text)
        return (gene,) if gene else ()

    def _alias(self, text: str, upper: str) -> tuple[str, ...]:
        gene = self._aliases.get(upper or text)
        return (gene,) if gene else ()

    def _table_rules(self, table: GeneTable) -> Iterable[tuple[GeneRule, _LookUp]]:
        rules = (GeneRule.TABLE_SYMBOL, GeneRule.TABLE_PREVIOUS, GeneRule.TABLE_ALIAS)
        exact = (table.symbols, table.previous, table.aliases)
        return zip(rules, map(self._look_up, exact, table.upper_case), strict=True)

    def _pyensembl_rules(self, table: GeneTable) -> Iterable[tuple[GeneRule, _LookUp]]:
        return ((GeneRule.PYENSEMBL, self._look_up(table.symbols, table.upper_case[0])),)

    def _look_up(self, exact: Names, upper_case: Names) -> _LookUp:
        def look_up(text: str, upper: str) -> tuple[str, ...]:
            found = exact.get(text) or upper_case.get(upper, ())
            # A symbol may list copies of its gene on alternative loci: the vocabulary's own
            # dictionary says which of them it counted.
            own = self._symbols.get(text)
            return (own,) if own in found else found

        return look_up


def base_of_made_unique(text: str, neighbours: Container[str]) -> str | None:
    """Return ``TBCE`` of ``TBCE-1``, where `neighbours` has it; else None."""
    match = _MADE_UNIQUE.fullmatch(text)
    return match[1] if match and match[1] in neighbours else None


def _fold_symbols(symbols: Mapping[str, str]) -> Names:
    found: dict[str, tuple[str, ...]] = dict(
        zip(map(str.upper, symbols), zip(symbols.values(), strict=True), strict=True)
    )
    if len(found) == len(symbols):  # No two fall together, as in the published dictionaries.
        return found
    found.clear()
    for symbol, gene in symbols.items():
        known = found.setdefault(symbol.upper(), (gene,))
        if gene not in known:
            found[symbol.upper()] = (*known, gene)
    return found


def _rule_of_id(upper: str, plain: str) -> GeneRule:
    return GeneRule.ENSEMBL_ID if upper == plain.upper() else GeneRule.VERSION_REMOVED
