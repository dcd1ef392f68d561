"""Which names a new vocabulary knows its genes by."""

import logging
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from rankformer.genes.tables import GeneTable, gene_table_from_pyensembl
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.vocabulary.vocabulary import MASK, PAD, Vocabulary

logger = logging.getLogger(__name__)

Names = Mapping[str, str]
_NO_NAMES: Names = MappingProxyType({})


def choose_names(
    met: Mapping[str, Mapping[str, int]], known: Vocabulary | None = None
) -> tuple[Names, Names]:
    """Choose each gene's symbol among the names that files have for it; the others are aliases.

    Parameters
    ----------
    met
        Ensembl id → name → cells of the files that call the gene so. The most common name is the
        symbol, at a tie the first in the alphabet.
    known
        Names that stand as they are and go before those met.

    Returns
    -------
    symbols, aliases
        Name → Ensembl id, as a `Vocabulary` has them. A name that is the symbol of two genes, or
        an alias of one and any name of another, is not guessed and left out.
    """
    symbol_of = known.symbol_of if known else _NO_NAMES
    ranked = {
        gene: [*filter(None, [symbol_of.get(gene)]), *_by_cells(met[gene])] for gene in sorted(met)
    }
    old_symbols = known.symbols if known else _NO_NAMES
    old_aliases = known.aliases if known else _NO_NAMES
    symbols = _unambiguous_symbols(ranked, {**old_aliases, **old_symbols})
    symbols = {**old_symbols, **symbols}
    return symbols, {**_unambiguous_aliases(ranked, symbols, old_aliases), **old_aliases}


def names_of_options(options: ReadingOptions) -> Vocabulary | None:
    """The names of the gene table, or else of the pyensembl database, that options bring."""
    if options.gene_table is not None:
        return names_in_table(options.gene_table)
    if options.pyensembl_genome is not None:
        return names_in_table(gene_table_from_pyensembl(options.pyensembl_genome))
    return None


def names_in_table(table: GeneTable) -> Vocabulary:
    """Make a gene table a vocabulary in which names can be looked up; its medians mean nothing."""
    genes = sorted({gene for ids in table.symbols.values() for gene in ids})
    named: dict[str, Counter[str]] = {gene: Counter() for gene in genes}
    for names in (table.aliases, table.previous, table.symbols):
        for name, ids in names.items():
            for gene in ids:
                own = names is table.symbols and len(ids) == 1
                named.setdefault(gene, Counter())[name] = 2 if own else 1
    symbols, aliases = choose_names(named)
    tokens = {name: token for token, name in enumerate((PAD, MASK, *genes))}
    return Vocabulary.from_tables(
        tokens, dict.fromkeys(genes, 1.0), symbols=symbols, aliases=aliases, name=table.name
    )


def _by_cells(names: Mapping[str, int]) -> list[str]:
    return sorted(names, key=lambda name: (-names[name], name))


def _unambiguous_symbols(ranked: Mapping[str, list[str]], taken: Names) -> dict[str, str]:
    first = {gene: names[0] for gene, names in ranked.items() if names}
    times = Counter(first.values())
    twice = sorted(name for name, n in times.items() if n > 1)
    if twice:
        logger.info(
            "%s symbols stand for more than one gene and are left out, %s among them.",
            f"{len(twice):,}", ", ".join(twice[:3]),
        )  # fmt: skip
    return {
        name: gene
        for gene, name in first.items()
        if times[name] == 1 and taken.get(name, gene) == gene
    }


def _unambiguous_aliases(
    ranked: Mapping[str, list[str]], symbols: Names, old: Names
) -> dict[str, str]:
    genes_of: dict[str, set[str]] = {}
    for name, gene in symbols.items():
        genes_of.setdefault(name.upper(), set()).add(gene)
    upper_symbols = frozenset(genes_of)
    for gene, names in ranked.items():
        for name in names:
            genes_of.setdefault(name.upper(), set()).add(gene)
    return {
        name: next(iter(genes))
        for name, genes in genes_of.items()
        if len(genes) == 1 and name not in upper_symbols and name not in old
    }
