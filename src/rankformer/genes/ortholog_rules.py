"""The rules that turn an identifier of another species into a human gene, by its ortholog."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property

from rankformer.genes.orthologs import OrthologTable, choose_orthologs
from rankformer.genes.rules import GeneFate, GeneMatch, GeneResolver, GeneRule
from rankformer.genes.species import HUMAN, RODENT, other_species_of, species_of_gene_id
from rankformer.genes.tables import GeneTable

_RULES_OF_IDS = (GeneRule.ENSEMBL_ID, GeneRule.VERSION_REMOVED, GeneRule.EMBEDDED_ID)


@dataclass(frozen=True, eq=False)
class _GenesOfSpecies:
    """The genes of a table of orthologs, as those of a vocabulary are known."""

    table: OrthologTable

    @property
    def ensembl_ids(self) -> list[str]:
        """Those of its genes that are ids, and not symbols."""
        return [gene for gene in self.table.genes if species_of_gene_id(gene) is not None]

    @cached_property
    def token_of(self) -> Mapping[str, int]:
        return dict.fromkeys(self.table.genes, 0)

    @property
    def symbols(self) -> Mapping[str, str]:
        return {symbol: genes[0] for symbol, genes in self.table.symbols.items()}

    @property
    def aliases(self) -> Mapping[str, str]:
        return {}


class OrthologResolver:
    """Resolves identifiers of another species to the human genes that are their orthologs.

    An identifier goes through the rules of `GeneResolver` with the genes of the table in the place
    of a vocabulary; then the gene's human ortholog goes through those of the vocabulary.

    Parameters
    ----------
    table
        The species, its genes, their orthologs, and which of these are taken.
    human
        The rules of the vocabulary.

    Attributes
    ----------
    species
        Of the table: identifiers of any other, human ones too, are foreign.
    """

    def __init__(self, table: OrthologTable, human: GeneResolver) -> None:
        self.species = table.species
        names = GeneTable(table.symbols, {}, {}, table.name)
        self._own = GeneResolver(_GenesOfSpecies(table), names, species=table.species)
        self._human = human
        self._chosen = choose_orthologs(table, self._human_gene)

    def resolve(self, identifier: str, neighbours: Container[str] = ()) -> GeneMatch:
        """Find the human gene of one identifier; see `GeneResolver.resolve`."""
        match = self._own.resolve(identifier, neighbours)
        if match.fate is GeneFate.MAPPED and match.ensembl_id is not None:
            return self._ortholog(match.ensembl_id, match.rule)
        is_own = match.fate is GeneFate.OUTSIDE or (
            match.fate is GeneFate.UNKNOWN and self._is_written_as_own(identifier.strip())
        )
        return GeneMatch(None, None, GeneFate.NO_ORTHOLOG) if is_own else match

    def _ortholog(self, gene: str, rule: GeneRule | None) -> GeneMatch:
        human = self._chosen.get(gene)
        if human is None:
            return GeneMatch(None, None, GeneFate.SEVERAL_ORTHOLOGS)
        of_id = rule in _RULES_OF_IDS
        match = self._human.resolve(human)
        return match._replace(rule=GeneRule.ORTHOLOG_OF_ID if of_id else GeneRule.ORTHOLOG_OF_NAME)

    def _human_gene(self, identifier: str) -> str:
        return self._human.resolve(identifier).ensembl_id or identifier

    def _is_written_as_own(self, text: str) -> bool:
        """Whether a name that the table lacks, such as ``Gm10000``, is of the species."""
        return other_species_of(text, HUMAN) in (self.species, RODENT)
