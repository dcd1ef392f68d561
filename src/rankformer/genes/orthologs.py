"""Genes of other species and their human orthologs, and which of these are taken."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, get_args

from rankformer.errors import SettingsError
from rankformer.genes.ortholog_choice import OrthologChoice


class OrthologPair(NamedTuple):
    """A gene of a species and a human gene, as a row of a table has them.

    Attributes
    ----------
    gene
        Ensembl id of the gene, or its symbol where the table has no id.
    human
        Ensembl id of the human gene, or its symbol.
    support
        How well the pair is supported, higher is better; empty where the table does not say.
    is_one_to_one
        What the table says of it, or None.
    """

    gene: str
    human: str
    support: tuple[float, ...] = ()
    is_one_to_one: bool | None = None


@dataclass(frozen=True, eq=False)
class OrthologTable:
    """Pairs of genes of a species and of human ones; see `read_orthologs`.

    Attributes
    ----------
    species
        Whose genes they are, such as ``"mouse"``.
    choice
        Which genes are taken where several are orthologs: ``"one-to-one"``, ``"best"`` or
        ``"summed"``.
    pairs
        As the table has them.
    symbols
        Symbol of a gene of the species → its keys in `pairs`.
    name
        Where the table came from, for messages and provenance.
    sha256
        Of the file.
    """

    species: str
    choice: OrthologChoice
    pairs: Sequence[OrthologPair]
    symbols: Mapping[str, tuple[str, ...]]
    name: str
    sha256: str

    def __post_init__(self) -> None:
        choices = get_args(OrthologChoice)
        if self.choice not in choices:
            raise SettingsError(
                f"The orthologs to be taken are {self.choice!r}.",
                f"One of {', '.join(map(repr, choices))}.",
                "Correct choice (--ortholog-choice).",
            )
        if self.choice == "best" and not any(pair.support for pair in self.pairs):
            raise SettingsError(
                f"The best supported orthologs were asked for, and {self.name} does not say how "
                "well its pairs are supported.",
                "The table of HCOP, or an export of BioMart with the orthology confidence or the "
                "identities.",
                "Take another table, or another choice: one-to-one or summed (--ortholog-choice).",
            )

    @cached_property
    def genes(self) -> frozenset[str]:
        """Ids, or symbols, of all genes of the species."""
        return frozenset(pair.gene for pair in self.pairs)

    def told(self) -> dict[str, str]:
        """What identifies it, for manifests and ``uns``."""
        return {
            "species": self.species, "choice": str(self.choice), "table": self.name,
            "table_sha256": self.sha256,
        }  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: mappings that cannot be changed do not go there as they are."""
        plain = (self.species, self.choice, list(self.pairs), dict(self.symbols))
        return OrthologTable, (*plain, self.name, self.sha256)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return (
            f"OrthologTable({self.name!r}: {len(self.genes):,} genes of {self.species}, "
            f"{self.choice})"
        )


_Supports: TypeAlias = Mapping[str, Mapping[str, tuple[float, ...]]]


def choose_orthologs(table: OrthologTable, human_gene: Callable[[str], str]) -> Mapping[str, str]:
    """Choose the human gene of each gene of the species, as the table's `choice` says.

    Parameters
    ----------
    table
        Pairs, several of which may be of one gene.
    human_gene
        The id that the vocabulary has for a human gene of the table: two ids of one gene are one.

    Returns
    -------
    Gene of the species → human gene. ``"one-to-one"``: both are in no other pair, and the table
    does not say otherwise. ``"best"``: of each the other is the ortholog with the most support,
    and the only one with as much. ``"summed"``: every gene goes to its human gene, several of
    which may then be one; of several human genes it goes to the one with the most support, and to
    none where two have as much.
    """
    humans, genes, other_types = _by_gene(table.pairs, human_gene)
    if table.choice == "one-to-one":
        return {
            gene: human for gene, (human, *more) in humans.items()
            if not more and len(genes[human]) == 1 and (gene, human) not in other_types
        }  # fmt: skip
    best = {gene: _best(supports) for gene, supports in humans.items()}
    if table.choice == "best":
        best_back = {human: _best(supports) for human, supports in genes.items()}
        return {gene: each for gene, each in best.items() if each and best_back[each] == gene}
    return {gene: each for gene, each in best.items() if each}


def _by_gene(
    pairs: Iterable[OrthologPair], human_gene: Callable[[str], str]
) -> tuple[_Supports, _Supports, set[tuple[str, str]]]:
    """Support by gene and human gene, and the other way; pairs that are said not to be 1:1."""
    humans: dict[str, dict[str, tuple[float, ...]]] = defaultdict(dict)
    genes: dict[str, dict[str, tuple[float, ...]]] = defaultdict(dict)
    other_types = set()
    for pair in pairs:
        human = human_gene(pair.human)
        support = max(pair.support, humans[pair.gene].get(human, ()))
        humans[pair.gene][human] = genes[human][pair.gene] = support
        if pair.is_one_to_one is False:
            other_types.add((pair.gene, human))
    return humans, genes, other_types


def _best(supports: Mapping[str, tuple[float, ...]]) -> str | None:
    """The one with the most support; None where two have as much."""
    most = max(supports.values())
    found = [each for each, support in supports.items() if support == most]
    return found[0] if len(found) == 1 else None
