"""Which gene each variable of a file is, where there is no vocabulary to ask.

The file must say so itself: by Ensembl ids of any one species, and by symbols beside them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.data.gene_columns import INDEX, GeneColumn, candidate_columns, named_column
from rankformer.data.identifiers import SYMBOLS, distinct_identifiers, kind_of
from rankformer.errors import GeneError

_GENE_ID = re.compile(
    r"(ENS(?:[A-Z]{3,4})?G\d{11}|ENSGR\d{10})(?:\.\d+)?(?:_PAR_Y)?", re.IGNORECASE
)
_SYMBOL_COLUMNS = (
    "gene_symbols",
    "gene_symbol",
    "feature_name",
    "gene_name",
    "gene_names",
    "symbol",
)


@dataclass(frozen=True, eq=False)
class GeneIdentities:
    """The gene of each variable of a file.

    Attributes
    ----------
    ensembl_ids
        (n_vars,) str without version, or None where a variable has none.
    is_gene
        (n_vars,) bool: False for antibodies, peaks and the like.
    symbols, biotypes
        (n_vars,) str, or None where a variable has none.
    """

    ensembl_ids: NDArray[np.object_]
    is_gene: NDArray[np.bool_]
    symbols: NDArray[np.object_]
    biotypes: NDArray[np.object_]

    @property
    def symbols_of(self) -> Mapping[str, set[str]]:
        """Ensembl id → its symbols."""
        return self._by_gene(self.symbols)

    @property
    def biotypes_of(self) -> Mapping[str, set[str]]:
        """Ensembl id → its biotypes."""
        return self._by_gene(self.biotypes)

    def _by_gene(self, names: NDArray[np.object_]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for gene, name, is_gene in zip(self.ensembl_ids, names, self.is_gene, strict=True):
            if gene and name and is_gene:
                found.setdefault(gene, set()).add(name)
        return found


def identify_genes(
    var: pd.DataFrame, *, gene_ids: str | None = None, symbols: str | None = None
) -> GeneIdentities:
    """Take the Ensembl ids and symbols that a file has.

    Parameters
    ----------
    var
        (n_vars, …) annotation of the variables.
    gene_ids, symbols
        "index" or a column of `var`; found by looking unless given.

    Raises
    ------
    GeneError
        If less than half of the variables that are genes have an Ensembl id, or a named column is
        missing.
    """
    columns = candidate_columns(var) if gene_ids is None else [named_column(var, gene_ids)]
    ids = [_ensembl_ids(column) for column in columns]
    best = max(range(len(columns)), key=lambda i: sum(each is not None for each in ids[i]))
    column, ensembl_ids = columns[best], ids[best]
    n_genes, n_known = column.is_gene.sum(), sum(each is not None for each in ensembl_ids)
    if 2 * n_known < n_genes or not n_known:
        raise GeneError(
            f"{n_known:,} of {n_genes:,} identifiers are Ensembl gene ids.",
            "Ensembl gene ids for at least half of the variables that are genes.",
            "Name their column: gene_ids (--gene-ids).",
        )
    return GeneIdentities(
        ensembl_ids,
        column.is_gene,
        _find_symbols(var, symbols, column.name),
        _none(len(var)),
    )


def _ensembl_ids(column: GeneColumn) -> NDArray[np.object_]:
    def gene_id(text: str) -> str | None:
        match = _GENE_ID.fullmatch(text)
        return match[1].upper().replace("ENSGR", "ENSG0") if match else None

    codes, texts = distinct_identifiers(column.identifiers)
    ids = np.array([*map(gene_id, texts), None], dtype=object)
    return ids[np.where(column.is_gene, codes, len(texts))]


def _find_symbols(var: pd.DataFrame, name: str | None, taken: str) -> NDArray[np.object_]:
    names = [name] if name else [each for each in _SYMBOL_COLUMNS if each in var]
    for each in [*names, INDEX]:
        if each == taken:
            continue
        codes, texts = distinct_identifiers(named_column(var, each).identifiers)
        symbols = [text if kind_of(text) == SYMBOLS else None for text in texts]
        if any(symbols):
            return np.array(symbols, dtype=object)[codes]
    return _none(len(var))


def _none(n: int) -> NDArray[np.object_]:
    return np.full(n, None, dtype=object)
