"""The rules that turn one identifier into one gene, in the order they are tried."""

import re
from collections.abc import Callable, Container, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from rankformer.data.gene_tables import GeneTable, Names
from rankformer.data.species import (
    RODENT,
    is_only_rodent,
    is_rodent_symbol,
    other_species_of,
    remove_human_genome,
)
from rankformer.vocabulary import Vocabulary


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


class GeneFate(StrEnum):
    """What became of a variable."""

    MAPPED = "mapped"
    OUTSIDE = "known gene, not in the vocabulary"
    AMBIGUOUS = "ambiguous, not guessed"
    OTHER_SPECIES = "of another species"
    NOT_A_GENE = "not a gene expression feature"
    UNKNOWN = "unknown"


class GeneMatch(NamedTuple):
    """One identifier's gene: its Ensembl id (None if it has none), the rule and the fate.

    `species` names the other species that an unresolved identifier is written like.
    """

    ensembl_id: str | None
    rule: GeneRule | None
    fate: GeneFate
    species: str | None = None


_LookUp = Callable[[str, str], tuple[str, ...]]
_WITH_VERSION = re.compile(r"(ENSG\d{11}|ENSGR\d{10})(?:\.\d+)?(?:_PAR_Y|_\d+)?")
_ANY_ID = re.compile(r"(?<![A-Z0-9])(ENSG\d{11})(?!\d)")
_MADE_UNIQUE = re.compile(r"(.+)[-.]\d{1,2}")
# What str() makes of a missing value. NAN and NA are aliases of genes.
_MISSING = frozenset(("", "nan", "NaN", "None", "<NA>", "NaT"))


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
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        table: GeneTable | None = None,
        pyensembl_table: GeneTable | None = None,
    ) -> None:
        self._token_of = dict(vocabulary.token_of)
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
            self._by_ensembl_id(text.upper())
            or self._by_name(text)
            or self._by_shortened(text, neighbours)
            or self._unresolved(text)
        )

    def _by_ensembl_id(self, upper: str) -> GeneMatch | None:
        """Rules 1 to 4, for ids that the vocabulary knows."""
        if "ENSG" not in upper:
            return None
        if self._is_current_id(upper):
            return self._match((upper,), GeneRule.ENSEMBL_ID)
        plain = self._plain_id(upper)
        if plain is None:
            return self._by_embedded_id(upper)
        if self._is_current_id(plain):
            return self._match((plain,), GeneRule.VERSION_REMOVED)
        return self._match((plain,), GeneRule.RETIRED_ID) if plain in self._aliases else None

    def _is_current_id(self, ensembl_id: str) -> bool:
        return ensembl_id in self._token_of or self._aliases.get(ensembl_id) == ensembl_id

    def _plain_id(self, upper: str) -> str | None:
        match = _WITH_VERSION.fullmatch(upper)
        if match and match[1] in self._token_of:  # V1 has tokens for some ENSGR ids
            return match[1]
        return _remove_version(upper)

    def _by_embedded_id(self, upper: str) -> GeneMatch | None:
        if remove_human_genome(upper) is not None:
            return None
        within = tuple(dict.fromkeys(_ANY_ID.findall(upper)))
        return self._match(within, GeneRule.EMBEDDED_ID) if within else None

    def _by_name(self, text: str) -> GeneMatch | None:
        """Rules 5 to 11: the tables' and the vocabulary's names."""
        # Upper-casing the symbol of a mouse gene would make it look like the human one.
        upper = text if is_rodent_symbol(text) else text.upper()
        for rule, look_up in self._name_rules:
            found = look_up(text, upper)
            if found:
                return self._match(found, rule)
        return None

    def _by_shortened(self, text: str, neighbours: Container[str]) -> GeneMatch | None:
        """Rules 12 and 13: less the genome's prefix, or less the suffix of a duplicate."""
        rest = remove_human_genome(text)
        if rest is not None:
            return self.resolve(rest)._replace(rule=GeneRule.GENOME_REMOVED)
        base = _MADE_UNIQUE.fullmatch(text)
        if base is None or base[1] not in neighbours:
            return None
        match = self.resolve(base[1])
        return match._replace(rule=GeneRule.MADE_UNIQUE) if match.rule else None

    def _unresolved(self, text: str) -> GeneMatch:
        upper = text.upper()
        plain = _remove_version(upper)
        if plain is not None:
            return GeneMatch(plain, _rule_of_id(upper, plain), GeneFate.OUTSIDE)
        species = other_species_of(text)
        sure = species is not None and (species != RODENT or self._is_rodent_gene(text))
        fate = GeneFate.OTHER_SPECIES if sure else GeneFate.UNKNOWN
        return GeneMatch(None, None, fate, species)

    def _is_rodent_gene(self, text: str) -> bool:
        """Whether a name in the manner of mouse and rat is more than an odd name (Vault)."""
        upper = text.upper()
        return is_only_rodent(text) or upper in self._upper_symbols or upper in self._aliases

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

    def _alias(self, _: str, upper: str) -> tuple[str, ...]:
        gene = self._aliases.get(upper)
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
            own = self._symbols.get(text) if len(found) > 1 else None
            return (own,) if own in found else found

        return look_up


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


def _remove_version(upper: str) -> str | None:
    """Return the human Ensembl gene id without version or PAR mark; None if it is not one."""
    match = _WITH_VERSION.fullmatch(upper)
    return match[1].replace("ENSGR", "ENSG0") if match else None


def _rule_of_id(upper: str, plain: str) -> GeneRule:
    return GeneRule.ENSEMBL_ID if upper == plain else GeneRule.VERSION_REMOVED
