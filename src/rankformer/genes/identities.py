"""Which gene each variable of a file is, where there is no vocabulary yet.

The file says so itself, by Ensembl ids of any species; or names are looked up where a table or
another vocabulary is given.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import GeneError, SettingsError
from rankformer.genes.columns import (
    BIOTYPE_COLUMNS,
    INDEX,
    SYMBOL_COLUMNS,
    GeneColumn,
    candidate_columns,
    named_column,
)
from rankformer.genes.identifiers import SYMBOLS, detect_identifiers, distinct_identifiers, kind_of
from rankformer.genes.map_genes import map_genes
from rankformer.genes.orthologs import OrthologTable
from rankformer.genes.recognised_share import check_share
from rankformer.genes.rules import base_of_made_unique
from rankformer.genes.species import gene_id_of
from rankformer.genes.tables import GeneTable
from rankformer.vocabulary.vocabulary import Vocabulary

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class GeneIdentities:
    """The gene of each variable of a file.

    Attributes
    ----------
    ensembl_ids
        (n_vars,) str without version, or None where a variable has none or is no gene.
    is_gene
        (n_vars,) bool: False for antibodies, peaks and the like.
    symbols
        Ensembl id → the names it goes by in this file.
    biotypes
        Ensembl id → its biotypes in this file.
    """

    ensembl_ids: NDArray[np.object_]
    is_gene: NDArray[np.bool_]
    symbols: Mapping[str, set[str]]
    biotypes: Mapping[str, set[str]]


def identify_genes(
    var: pd.DataFrame,
    *,
    gene_ids: str | None = None,
    symbols: str | None = None,
    names_from: Vocabulary | None = None,
    gene_table: GeneTable | None = None,
    pyensembl_genome: Any = None,
    min_recognised: float = 0.5,
    orthologs: OrthologTable | None = None,
) -> GeneIdentities:
    """Tell which gene each variable is.

    Parameters
    ----------
    var
        (n_vars, …) annotation of the variables.
    gene_ids
        "index" or the column of `var` with the Ensembl ids; found by looking unless given. With
        `names_from`, it may hold names.
    symbols
        "index" or the column of `var` with the symbols; found by looking unless given.
    names_from
        A vocabulary that names are looked up in, by the rules of `map_genes`.
    gene_table, pyensembl_genome
        More names for it.
    min_recognised
        The least share, 0 to 1, of the variables that are genes that must be recognised.
    orthologs
        Of the species that the file is of: its genes are taken for human ones of `names_from`.

    Raises
    ------
    GeneError
        If fewer are, or a column is missing.
    SettingsError
        If `min_recognised` is not between 0 and 1, or there are orthologs and no `names_from`.
    """
    check_share(min_recognised)
    if names_from is None:
        _expect_no_orthologs(orthologs)
        columns = candidate_columns(var) if gene_ids is None else [named_column(var, gene_ids)]
        column, ensembl_ids = _choose_ids(columns, min_recognised)
        taken = column.name
    else:
        mapping = map_genes(
            var, names_from, gene_ids=gene_ids, gene_table=gene_table,
            pyensembl_genome=pyensembl_genome, min_recognised=min_recognised,
            orthologs=orthologs,
        )  # fmt: skip
        taken, ensembl_ids = mapping.column, mapping.ensembl_ids
        column = named_column(var, taken)
    return GeneIdentities(
        ensembl_ids,
        column.is_gene,
        _by_gene(ensembl_ids, _symbols(var, symbols, taken)),
        _by_gene(ensembl_ids, _biotypes(var)),
    )


def _expect_no_orthologs(orthologs: OrthologTable | None) -> None:
    if orthologs is None:
        return
    raise SettingsError(
        f"Genes of {orthologs.species} are to be taken for human ones, and no human genes are "
        "named.",
        "A model or a vocabulary that knows the human genes.",
        "Name one with names_from (--names-from); or leave out species and orthologs (--species, "
        "--orthologs) for a vocabulary of the species' own genes.",
    )


def _choose_ids(
    columns: Sequence[GeneColumn], min_recognised: float
) -> tuple[GeneColumn, NDArray[np.object_]]:
    """Take the column with most Ensembl ids; at a tie the first."""
    ids = [_ensembl_ids(column) for column in columns]
    n_ids = [sum(each is not None for each in of_column) for of_column in ids]
    best = int(np.argmax(n_ids))
    column, n_genes = columns[best], int(columns[best].is_gene.sum())
    if n_ids[best] and n_ids[best] >= min_recognised * n_genes:
        _log.info(
            "Genes by %r: %s of %s variables have an Ensembl id.",
            column.name, f"{n_ids[best]:,}", f"{len(ids[best]):,}",
        )  # fmt: skip
        return column, ids[best]
    summary = detect_identifiers(column.identifiers)
    raise GeneError(
        f"{n_ids[best]:,} of {n_genes:,} variables that are genes have an Ensembl id; looked at "
        f"{', '.join(each.name for each in columns)}. The {column.name} holds {summary.kind} "
        f"({', '.join(summary.examples)}).",
        f"Ensembl gene ids, of any one species, for at least {min_recognised:.0%} of them.",
        "Name their column (--gene-ids), or give names to look up: a table with names and Ensembl "
        "ids (--gene-table) or a model or vocabulary that knows them (--names-from).",
    )


def _ensembl_ids(column: GeneColumn) -> NDArray[np.object_]:
    codes, texts = distinct_identifiers(column.identifiers)
    ids = np.array([*map(gene_id_of, texts), None], dtype=object)
    return ids[np.where(column.is_gene, codes, len(texts))]


def _symbols(var: pd.DataFrame, name: str | None, ids_from: str) -> list[str | None]:
    """What the variables are called beside their ids, which themselves may be names."""
    if name is not None:
        return _names_in(named_column(var, name))
    usual = [each for each in SYMBOL_COLUMNS if each in var]
    for each in dict.fromkeys([*usual, INDEX, ids_from]):
        found = _names_in(named_column(var, each))
        if any(found):
            return found
    return [None] * len(var)


def _names_in(column: GeneColumn) -> list[str | None]:
    codes, texts = distinct_identifiers(column.identifiers)
    neighbours = frozenset(texts)
    names = [
        (base_of_made_unique(text, neighbours) or text) if kind_of(text) == SYMBOLS else None
        for text in texts
    ]
    return [names[code] for code in codes]


def _biotypes(var: pd.DataFrame) -> list[str | None]:
    name = next((each for each in BIOTYPE_COLUMNS if each in var), None)
    if name is None:
        return [None] * len(var)
    codes, texts = distinct_identifiers(named_column(var, name).identifiers)
    return [texts[code] or None for code in codes]


def _by_gene(
    ensembl_ids: Iterable[str | None], names: Iterable[str | None]
) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for gene, name in zip(ensembl_ids, names, strict=True):
        if gene and name:
            found.setdefault(gene, set()).add(name)
    return found
