"""What plots read of AnnData: columns of cells, expression of genes, coordinates."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from rankformer.cells.normalise import log_normalise
from rankformer.errors import SettingsError, expect_type
from rankformer.genes.columns import symbols_or_index

logger = logging.getLogger(__name__)
NORMALISED = "log1p of counts per 10,000"
_ROWS_LOOKED_AT, _MOST_TOLD = 200, 20
# Their dimensions are in the order of what they explain, so that the first two mean something.
_IN_ORDER = ("X_pca", "X_lsi", "X_diffmap", "X_svd")


@dataclass(frozen=True, eq=False)
class Categories:
    """A column of names.

    Attributes
    ----------
    names
        In the order of the column's categories, or of the alphabet; those that cells have.
    codes
        (n_cells,) the place of each cell's name among them; -1 where it is missing.
    """

    names: list[str]
    codes: NDArray[np.int64]

    @property
    def counts(self) -> list[int]:
        """Cells of each name."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        return [int(each) for each in counts]


@dataclass(frozen=True, eq=False)
class Numbers:
    """A number of each cell, NaN where there is none, and what it means."""

    values: NDArray[np.float64]
    label: str


@dataclass(frozen=True, eq=False)
class Expression:
    """Cells by genes.

    Attributes
    ----------
    matrix
        CSR: log-normalised where counts were found, or else as they were.
    genes
        Their names, symbols where there are any.
    label
        What the values are.
    """

    matrix: csr_matrix
    genes: NDArray[np.object_]
    label: str


def expect_adata(adata: object) -> None:
    """Refuse what is no AnnData."""
    expect_type(
        adata, AnnData, "adata", "AnnData.", "Read a file first: anndata.read_h5ad(path)."
    )  # fmt: skip


def find_coordinates(
    adata: AnnData, basis: str, components: Sequence[int] | None
) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """(n_cells, 2) places of cells, and what the axes are called.

    Parameters
    ----------
    adata
        Cells.
    basis
        A key of obsm, with ``X_`` before it or without.
    components
        Which two dimensions, counted from 1.

    Raises
    ------
    SettingsError
        If there is no such key, or it has more dimensions than a picture.
    """
    key = basis if basis in adata.obsm else f"X_{basis}"
    if key not in adata.obsm:
        raise _no_basis(adata, basis)
    values = adata.obsm[key]
    values = values.to_numpy() if isinstance(values, pd.DataFrame) else np.asarray(values)
    n = values.shape[1] if values.ndim == 2 else 1
    if components is None:
        if n != 2 and not (n > 2 and key in _IN_ORDER):
            raise SettingsError(
                f"obsm[{key!r}] has {n:,} dimensions.",
                "Two, as a UMAP has them.",
                _how_to_make_umap(key),
            )
        components = (1, 2)
    if len(components) != 2 or not all(1 <= each <= n for each in components):
        raise SettingsError(
            f"components is {tuple(components)!r}; obsm[{key!r}] has {n:,} dimensions.",
            f"Two whole numbers from 1 to {n:,}.",
            "Correct components.",
        )
    name = key.removeprefix("X_")
    spoken = {"umap": "UMAP", "pca": "PC", "tsne": "t-SNE"}.get(name, name)
    x, y = (f"{spoken} {each}" for each in components)
    return values[:, [each - 1 for each in components]].astype(np.float64), (x, y)


def find_colour(
    adata: AnnData, name: str, layer: str | None, use_raw: bool | None
) -> Categories | Numbers:
    """A column of obs, or the expression of a gene.

    Raises
    ------
    SettingsError
        If it is neither; names that are written alike are told.
    """
    expect_type(
        name, str, "color", "A column of obs, or a gene.",
        "Name one; call the function once for each, with ax.",
    )  # fmt: skip
    if name in adata.obs:
        return read_column(adata.obs[name], name)
    names, symbols = _gene_names(adata, layer, use_raw)
    own = np.flatnonzero(names == name)
    if not len(own):
        own = np.flatnonzero(symbols == name)
    if not len(own):
        known = [*map(str, adata.obs.columns), *dict.fromkeys([*names, *symbols])]
        raise SettingsError(
            f"{name!r} is neither a column of obs nor a gene{did_you_mean(name, known)}",
            f"A column of obs ({_few(adata.obs.columns)}), or one of {len(names):,} genes.",
            "Correct color.",
        )
    if len(own) > 1:
        raise SettingsError(
            f"{len(own)} variables are called {name!r}.",
            "A name of one variable.",
            f"Name one of {_few(names[own])}, or make names unique: adata.var_names_make_unique().",
        )
    expression = find_expression(adata, layer, use_raw)
    values = np.asarray(expression.matrix[:, own].todense(), dtype=np.float64).ravel()
    return Numbers(values, f"{name}, {expression.label}" if expression.label else name)


def read_column(column: "pd.Series[Any]", name: str) -> Categories | Numbers:
    """Names or numbers of cells, as the type of a column says."""
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if is_number:
        return Numbers(column.to_numpy(dtype=np.float64, na_value=np.nan), name)
    return categories_of(column)


def categories_of(column: "pd.Series[Any]") -> Categories:
    """Names of cells, in an order that does not depend on that of the cells."""
    known = column.notna().to_numpy()
    texts = column.astype(str).to_numpy(dtype=object)
    there = set(texts[known])
    order = sorted(there)
    if isinstance(column.dtype, pd.CategoricalDtype):
        order = [str(each) for each in column.cat.categories]
    if order == sorted(order):
        # Cluster 10 comes after cluster 9, unless another order was made.
        order = sorted(order, key=_by_numbers)
    names = [each for each in order if each in there]
    place = {each: i for i, each in enumerate(names)}
    codes = [place[text] if is_known else -1 for text, is_known in zip(texts, known, strict=True)]
    return Categories(names, np.array(codes, np.int64))


def require_categories(table: pd.DataFrame, name: str, argument: str) -> Categories:
    """Names of cells under a column.

    Raises
    ------
    SettingsError
        If there is no such column, or no cell has a name in it.
    """
    require(table.columns, name, argument, "obs", "column")
    found = categories_of(table[name])
    if not found.names:
        raise SettingsError(
            f"obs[{name!r}] is missing in all cells.",
            "Names of some cells.",
            f"Correct {argument}.",
        )
    return found


def require(there: Iterable[Any], name: str, argument: str, where: str, what: str) -> None:
    """Refuse a name that is not there, and tell those written alike."""
    known = [str(each) for each in there]
    if name not in known:
        raise SettingsError(
            f"{where} has no {what} {name!r}{did_you_mean(str(name), known)}",
            f"One of {_few(known)}.",
            f"Correct {argument}.",
        )


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of a sentence, which asks for a name written alike where there is one."""
    lower = {each.lower(): each for each in reversed(known)}
    near = get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
    return f". Did you mean {lower[near[0]]!r}?" if near else "."


def find_expression(adata: AnnData, layer: str | None, use_raw: bool | None) -> Expression:
    """Values of all genes. Whole numbers are counts, and are log-normalised."""
    _, symbols = _gene_names(adata, layer, use_raw)
    matrix: Any = adata.X if layer is None else adata.layers[layer]
    if _takes_raw(adata, layer, use_raw):
        matrix = adata.raw.X
    if matrix is None:
        raise SettingsError(
            "X is empty.", "Expression of genes.", "Name the layer that holds it (layer)."
        )
    if hasattr(matrix, "to_memory"):
        matrix = matrix.to_memory()
    values = csr_matrix(matrix) if issparse(matrix) else csr_matrix(np.asarray(matrix))
    found = values[:_ROWS_LOOKED_AT].data
    is_counts = bool(len(found)) and bool((found >= 0).all() and (found == np.rint(found)).all())
    if is_counts:
        return Expression(log_normalise(values), symbols, NORMALISED)
    return Expression(values, symbols, "" if layer is None else layer)


def _gene_names(
    adata: AnnData, layer: str | None, use_raw: bool | None
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Names of variables, and their symbols where a column has them."""
    if layer is not None:
        require(adata.layers, layer, "layer", "adata", "layer")
    var = adata.raw.var if _takes_raw(adata, layer, use_raw) else adata.var
    return var.index.astype(str).to_numpy(dtype=object), symbols_or_index(var)


def _takes_raw(adata: AnnData, layer: str | None, use_raw: bool | None) -> bool:
    """As scanpy does: ``raw`` where there is one and no layer is named."""
    if use_raw and adata.raw is None:
        raise SettingsError(
            "use_raw is True, and adata.raw is empty.", "Expression in raw.", "Leave use_raw out."
        )
    return adata.raw is not None and layer is None if use_raw is None else use_raw


def _no_basis(adata: AnnData, basis: str) -> SettingsError:
    known = [str(each) for each in adata.obsm]
    if basis in ("X_umap", "umap"):
        embedding = next((each for each in known if "geneformer" in each.lower()), "X_geneformer")
        fix = _how_to_make_umap(embedding)
        if embedding not in known:
            fix = f"Embed the cells first: rankformer.tl.embed(adata, model=...). {fix}"
    else:
        fix = "Correct basis."
    return SettingsError(
        f"obsm has no {basis!r}{did_you_mean(basis, known)}",
        f"One of {_few(known)}.",
        fix,
    )


def _how_to_make_umap(key: str) -> str:
    return (
        f'Make a UMAP of it: scanpy.pp.neighbors(adata, use_rep="{key}"), scanpy.tl.umap(adata); '
        'and draw basis="X_umap".'
    )


def _by_numbers(name: str) -> list[tuple[int, int, str]]:
    """A key that orders the numbers within names as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(each), "") if each.isdecimal() else (1, 0, each) for each in parts]


def _few(names: Iterable[Any]) -> str:
    listed = [str(each) for each in names]
    more = f" and {len(listed) - _MOST_TOLD:,} more" if len(listed) > _MOST_TOLD else ""
    return (", ".join(listed[:_MOST_TOLD]) or "(none)") + more
