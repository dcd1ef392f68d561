"""Genes by genes as a heat map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rankformer.errors import SettingsError
from rankformer.names import as_names
from rankformer.show.canvas import Panel, add_colour_bar, entitle, literal, plain
from rankformer.show.cell_values import require
from rankformer.show.gene_pairs import GenePairs, Network, known_names, read_pairs, say_value
from rankformer.show.palette import DIVERGING, SEQUENTIAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches of a gene, as far as letters of 7 points allow.
_STEP, _LEAST_SIDE = 0.125, 1.4
_NO_PAIR = "#EDEDED"
_LONGEST = 18


@dataclass(frozen=True, eq=False)
class GeneMatrix:
    """Genes by genes.

    Attributes
    ----------
    table
        Rows are acted upon (they attend), columns act (they are attended to); NaN where there is
        no pair. Without direction it is symmetric.
    label
        What the values are.
    is_directed, by
        As of `GenePairs`.
    """

    table: pd.DataFrame
    label: str
    is_directed: bool
    by: str


def choose_matrix(
    network: Network, key: str, value: str, genes: str | Sequence[str] | None, n_genes: int
) -> GeneMatrix:
    """The genes of the most certain pairs, or those that are named, in clusters.

    Parameters
    ----------
    network, key
        See `read_pairs`; or a square table of genes by genes, rows being acted upon.
    value
        The column that is drawn.
    genes
        Names of genes; unless given, those of the first pairs, or of the greatest values of a
        square table.
    n_genes
        How many of these.

    Raises
    ------
    SettingsError, TableError
        If there is no such column or gene.
    """
    if isinstance(network, pd.DataFrame) and _is_square(network):
        matrix = network.rename(index=str, columns=str).astype(float)
        own = matrix.to_numpy()
        is_directed = not np.allclose(own, own.T, equal_nan=True)
        pairs, label = GenePairs(pd.DataFrame(), is_directed, ""), ""
        strongest = _strongest(matrix, n_genes)
    else:
        pairs = read_pairs(network, key)
        require(pairs.edges.columns, value, "value", "The table of pairs", "column")
        matrix = _as_matrix(pairs, value)
        label = say_value(value, pairs.by)
        strongest = _most_certain(pairs, n_genes)
    chosen = strongest if genes is None else _name_genes(matrix, genes)
    chosen = _cluster(matrix.loc[chosen, chosen])
    return GeneMatrix(matrix.loc[chosen, chosen], label, pairs.is_directed, pairs.by)


def matrix_size(matrix: GeneMatrix) -> Panel:
    """Axes in which each gene has its name."""
    side = max(_STEP * len(matrix.table), _LEAST_SIDE)
    return Panel(side, side)


def draw_matrix(ax: "Axes", matrix: GeneMatrix, *, cmap: str | None, title: str | None) -> None:
    """A heat map; grey where there is no pair."""
    from matplotlib import colormaps

    values = matrix.table.to_numpy(dtype=float)
    least, most = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    limits = {"vmin": least, "vmax": most}
    if least < 0 < most:
        limits = {"vmin": -max(most, -least), "vmax": max(most, -least)}
    name = cmap or (DIVERGING if least < 0 < most else SEQUENTIAL)
    if name not in colormaps:
        raise SettingsError(
            f"cmap is {name!r}.", "The name of a colour map of matplotlib's.", "Correct cmap."
        )
    ax.set_facecolor(_NO_PAIR)
    image = ax.imshow(np.ma.masked_invalid(values), cmap=name, interpolation="nearest", **limits)
    genes = [literal(each, _LONGEST) for each in matrix.table.index]
    plain(ax)
    ax.spines[:].set_visible(False)
    ax.set_xticks(range(len(genes)), genes, rotation=90)
    ax.set_yticks(range(len(genes)), genes)
    ax.tick_params(length=0, pad=2)
    if matrix.is_directed:
        acts, acted_upon = _say_sides(matrix.by)
        ax.set(xlabel=acts, ylabel=acted_upon)
    entitle(ax, title)
    add_colour_bar(ax, image, literal(matrix.label, 60), box=(1.03, 0, 0.04, 1))


def _is_square(network: pd.DataFrame) -> bool:
    return len(network) > 0 and list(map(str, network.index)) == list(map(str, network.columns))


def _as_matrix(pairs: GenePairs, value: str) -> pd.DataFrame:
    table = pairs.edges.pivot_table(index="target", columns="source", values=value, aggfunc="first")
    genes = sorted({*table.index, *table.columns})
    matrix = table.reindex(index=genes, columns=genes).astype(float)
    return matrix if pairs.is_directed else matrix.fillna(matrix.T)


def _most_certain(pairs: GenePairs, n_genes: int) -> list[str]:
    """Genes of the first pairs of the table."""
    _check_number(n_genes)
    ends = pairs.edges[["source", "target"]].to_numpy().ravel()
    return [str(each) for each in dict.fromkeys(ends)][:n_genes]


def _check_number(n_genes: int) -> None:
    if n_genes < 2:
        raise SettingsError(f"n_genes is {n_genes}.", "At least 2.", "Correct n_genes.")


def _strongest(matrix: pd.DataFrame, n_genes: int) -> list[str]:
    """Genes with the greatest values among themselves: the weakest goes, again and again."""
    _check_number(n_genes)
    own = np.abs(np.nan_to_num(matrix.to_numpy()))
    np.fill_diagonal(own, 0)
    strength = own.sum(axis=0) + own.sum(axis=1)
    left = np.ones(len(own), bool)
    for _ in range(len(own) - n_genes):
        weakest = int(np.argmin(np.where(left, strength, np.inf)))
        left[weakest] = False
        strength = strength - own[weakest] - own[:, weakest]
    return [str(each) for each in matrix.index[left]]


def _name_genes(matrix: pd.DataFrame, genes: str | Sequence[str]) -> list[str]:
    names = known_names(as_names(genes, "genes"), [str(each) for each in matrix.index])
    if len(names) < 2:
        raise SettingsError("genes names one gene.", "Two or more.", "Name more (genes).")
    return names


def _cluster(matrix: pd.DataFrame) -> list[str]:
    """Genes in the order of a tree (average linkage), like rows and columns beside each other."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    genes = [str(each) for each in matrix.index]
    if len(genes) < 3:
        return genes
    values = np.nan_to_num(matrix.to_numpy(dtype=float))
    np.fill_diagonal(values, 0)
    tree = linkage(np.hstack([values, values.T]), "average", optimal_ordering=True)
    return [genes[i] for i in leaves_list(tree)]


def _say_sides(by: str) -> tuple[str, str]:
    if by == "attention":
        return "attended to", "attends"
    return "acts", "acted upon"
