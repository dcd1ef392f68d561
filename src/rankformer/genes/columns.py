"""Where in ``var`` the identifiers of genes stand."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import GeneError

INDEX = "index"
# The names that scanpy, 10x, CELLxGENE and the published tokenizer give to such columns.
SYMBOL_COLUMNS = (
    "gene_symbols",
    "gene_symbol",
    "feature_name",
    "gene_name",
    "gene_names",
    "symbol",
)
_USUAL_NAMES = (
    "ensembl_id",
    "ensembl_ids",
    "ensembl",
    "gene_ids",
    "gene_id",
    "feature_id",
    *SYMBOL_COLUMNS,
)
# CELLxGENE's, GENCODE's, Ensembl's and HGNC's. CELLxGENE's feature_biotype only says "gene".
BIOTYPE_COLUMNS = (
    "feature_type",
    "gene_biotype",
    "gene_type",
    "biotype",
    "Gene type",
    "locus_group",
    "feature_biotype",
)
_NOT_GENES = frozenset(
    (
        "antibody capture",
        "antigen capture",
        "chromatin accessibility",
        "crispr guide capture",
        "custom",
        "multiplexing capture",
        "peaks",
        "vdj",
    )
)

_NOT_TEXTS = ("boolean", "integer", "floating", "mixed-integer-float")


@dataclass(frozen=True, eq=False)
class GeneColumn:
    """Identifiers of variables, and which variables are genes at all.

    Attributes
    ----------
    name
        "index", or the column of ``var``.
    identifiers
        (n_vars,) as in the file.
    is_gene
        (n_vars,) bool: False for antibodies, peaks and the like, as ``feature_types`` says.
    """

    name: str
    identifiers: "pd.Series[Any] | pd.Index[Any]"
    is_gene: NDArray[np.bool_]


def named_column(var: pd.DataFrame, name: str) -> GeneColumn:
    """Take the index ("index", or its own name) or a column of `var`.

    Raises
    ------
    GeneError
        If there is no such column, or no variable.
    """
    _expect_variables(var)
    if name in var.columns and name != INDEX:
        return GeneColumn(name, var.iloc[:, _position(var, name)], _is_gene(var))
    if name in (INDEX, var.index.name):
        return GeneColumn(INDEX, var.index, _is_gene(var))
    raise GeneError(
        f"var has no column {name!r}; it has {_columns(var)}.",
        "The column with the gene identifiers, or the index.",
        'Pass one of these, or "index": gene_ids=… (--gene-ids; gene_names of process_data). Leave '
        "gene_ids out to have it looked for.",
    )


def candidate_columns(var: pd.DataFrame) -> list[GeneColumn]:
    """List the index and all columns of text, those with usual names first.

    Raises
    ------
    GeneError
        If there is no variable.
    """
    _expect_variables(var)
    is_gene = _is_gene(var)
    names = [str(name) for name in var.columns if name != "feature_types"]
    usual = [name for name in _USUAL_NAMES if name in names]
    ordered = dict.fromkeys([*usual, *names])
    columns = (GeneColumn(name, var.iloc[:, _position(var, name)], is_gene) for name in ordered)
    return [GeneColumn(INDEX, var.index, is_gene), *filter(_holds_text, columns)]


def symbols_or_index(var: pd.DataFrame) -> NDArray[np.object_]:
    """Symbols of variables, from the first of `SYMBOL_COLUMNS` that is there.

    Returns
    -------
    (n_vars,) texts; that of the index where a symbol is missing, or no column has them.
    """
    names = var.index.astype(str).to_numpy(dtype=object)
    column = next((each for each in SYMBOL_COLUMNS if each in var), None)
    if column is None:
        return names
    symbols = var[column].astype(object).where(var[column].notna(), "").astype(str).to_numpy(object)
    return np.where(symbols == "", names, symbols)


def _position(var: pd.DataFrame, name: str) -> int:
    return [str(each) for each in var.columns].index(name)


def _holds_text(column: GeneColumn) -> bool:
    values: Any = column.identifiers
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.dtype.categories
    if pd.api.types.is_object_dtype(values.dtype):
        # Flags are objects where some are missing, as in columns that only var has beside raw.
        return pd.api.types.infer_dtype(values, skipna=True) not in _NOT_TEXTS
    return isinstance(values.dtype, pd.StringDtype)


def _is_gene(var: pd.DataFrame) -> NDArray[np.bool_]:
    if "feature_types" not in var:
        return np.ones(len(var), dtype=bool)
    types = var.iloc[:, _position(var, "feature_types")].astype(str).str.strip().str.lower()
    return ~types.isin(_NOT_GENES).to_numpy(dtype=bool)


def _expect_variables(var: pd.DataFrame) -> None:
    if len(var):
        return
    raise GeneError(
        "The data have no variables.",
        "One variable for each gene.",
        "Check the filters that were applied to the genes.",
    )


def _columns(var: pd.DataFrame) -> str:
    return ", ".join(map(repr, map(str, var.columns))) or "no columns, only the index"
