"""Pairs of genes: as a heat map, and as a drawn network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from rankformer.errors import SettingsError, TableError, expect_type
from rankformer.names import as_names
from rankformer.networks.gene_network import GeneNetwork
from rankformer.results.anndata_files import UNS_KEY
from rankformer.show.canvas import (
    ONE_COLUMN,
    SMALL,
    TWO_COLUMNS,
    add_colour_bar,
    add_legend,
    entitle,
    lay_out,
    literal,
    plain,
)
from rankformer.show.cell_values import did_you_mean, require
from rankformer.show.label_layout import push_apart
from rankformer.show.palette import DIVERGING, DOWN, SEQUENTIAL, UP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Network = GeneNetwork | AnnData | pd.DataFrame
_SIDES = ("source", "target")
_SPOKEN: Mapping[str, str] = MappingProxyType(
    {
        "excess": "excess over pairs of like ranks",
        "place": "place among pairs of like ranks",
        "coexpression": "co-expression (Pearson's r)",
    }
)
_STEP, _POINTS_A_LETTER = 0.125, 4.1
_LEAST_WIDTH, _MOST_WIDTH = 0.5, 2.6
_LEAST_DOT, _MOST_DOT = 14.0, 110.0
# Between parts that hang together, in units of an edge.
_ROOM = 0.9


@dataclass(frozen=True, eq=False)
class GenePairs:
    """Pairs of genes by their labels.

    Attributes
    ----------
    edges
        ``source`` and ``target``, labels that are told apart, and figures.
    is_directed
        Whether A on B is another thing than B on A.
    by
        How they were measured, such as "attention"; "" where that is not known.
    """

    edges: pd.DataFrame
    is_directed: bool
    by: str


@dataclass(frozen=True, eq=False)
class GeneMatrix:
    """Genes by genes.

    Attributes
    ----------
    values
        Rows are acted upon (they attend), columns act (they are attended to); NaN where there is
        no pair. Without direction it is symmetric.
    label
        What the values are.
    is_directed, by
        As of `GenePairs`.
    """

    values: pd.DataFrame
    label: str
    is_directed: bool
    by: str


def read_pairs(network: Network, key: str) -> GenePairs:
    """Pairs of a network, of AnnData after `gene_network`, or of the table of one.

    Raises
    ------
    SettingsError, TableError
        If there is no network, or it has no pair.
    """
    expect_type(
        network, (GeneNetwork, AnnData, pd.DataFrame), "The network",
        "AnnData after rankformer.tl.gene_network, or a table of pairs.",
        "Pass one of these; a file is read first: pandas.read_parquet(path).",
    )  # fmt: skip
    by, is_directed, edges = "", None, network
    if isinstance(network, GeneNetwork):
        edges, is_directed = network.edges, network.is_directed
        by = str(network.provenance.get("network", {}).get("by", ""))
    elif isinstance(network, AnnData):
        require(network.uns, key, "key", "uns", "network")
        edges = network.uns[key]
        told = network.uns.get(UNS_KEY, {}).get(key, {})
        by = str(told.get("network", {}).get("by", ""))
    missing = [name for name in _SIDES if name not in edges]
    if missing or not len(edges):
        raise TableError(
            f"The table has no column {' or '.join(missing)}." if missing else "It has no pair.",
            "Pairs of genes, as rankformer.tl.gene_network and `rankformer network` give them.",
            "Pass such a table.",
        )
    if is_directed is None:
        is_directed = by != "similarity" if by else _has_both_ways(edges)
    return GenePairs(_tell_apart(edges), is_directed, by)


def choose_matrix(
    network: Network, key: str, value: str, genes: str | Sequence[str] | None, n_genes: int
) -> GeneMatrix:
    """The genes with the greatest values between them, or those that are named, in clusters.

    Parameters
    ----------
    network, key
        See `read_pairs`; or a square table of genes by genes, rows being acted upon.
    value
        The column that is drawn.
    genes
        Names of genes; the strongest unless given.
    n_genes
        How many of the strongest.

    Raises
    ------
    SettingsError, TableError
        If there is no such column or gene.
    """
    if _is_square(network):
        matrix = network.rename(index=str, columns=str).astype(float)
        own = matrix.to_numpy()
        is_directed = not np.allclose(own, own.T, equal_nan=True)
        pairs, label = GenePairs(pd.DataFrame(), is_directed, ""), ""
    else:
        pairs = read_pairs(network, key)
        require(pairs.edges.columns, value, "value", "The table of pairs", "column")
        matrix = _as_matrix(pairs, value)
        label = _say(value, pairs.by)
    chosen = _name_genes(matrix, genes) if genes is not None else _strongest(matrix, n_genes)
    chosen = _cluster(matrix.loc[chosen, chosen])
    return GeneMatrix(matrix.loc[chosen, chosen], label, pairs.is_directed, pairs.by)


def matrix_size(matrix: GeneMatrix) -> tuple[float, float]:
    """Width and height of a figure in which each gene has its name."""
    longest = max(len(literal(each, 18)) for each in matrix.values.index)
    side = max(_STEP * len(matrix.values), 1.6) + longest * _POINTS_A_LETTER / 72
    return side + 1.05, side + 0.35


def draw_matrix(ax: "Axes", matrix: GeneMatrix, *, cmap: str | None, title: str | None) -> None:
    """A heat map; grey where there is no pair."""
    from matplotlib import colormaps

    values = matrix.values.to_numpy(dtype=float)
    least, most = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    limits = {"vmin": least, "vmax": most}
    if least < 0 < most:
        limits = {"vmin": -max(most, -least), "vmax": max(most, -least)}
    name = cmap or (DIVERGING if least < 0 < most else SEQUENTIAL)
    if name not in colormaps:
        raise SettingsError(
            f"cmap is {name!r}.", "The name of a colour map of matplotlib's.", "Correct cmap."
        )
    ax.set_facecolor("#EDEDED")
    image = ax.imshow(np.ma.masked_invalid(values), cmap=name, interpolation="nearest", **limits)
    genes = [literal(each, 18) for each in matrix.values.index]
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


def choose_edges(
    network: Network, key: str, weight: str, genes: str | Sequence[str] | None, n_edges: int
) -> GenePairs:
    """The first pairs of a table, which are the most certain, or the first with some genes.

    Raises
    ------
    SettingsError, TableError
        If there is no such column or gene, or no pair is left.
    """
    pairs = read_pairs(network, key)
    require(pairs.edges.columns, weight, "weight", "The table of pairs", "column")
    edges = pairs.edges.dropna(subset=[weight])
    if genes is not None:
        known = sorted({*edges["source"], *edges["target"]})
        names = _known_names(as_names(genes, "genes"), known)
        edges = edges[edges["source"].isin(names) | edges["target"].isin(names)]
    if n_edges < 1 or not len(edges):
        raise SettingsError(
            f"n_edges is {n_edges}; there are {len(edges):,} pairs with a {weight}.",
            "At least one pair.",
            "Correct n_edges, weight or genes.",
        )
    return GenePairs(edges.head(n_edges).reset_index(drop=True), pairs.is_directed, pairs.by)


def network_size(pairs: GenePairs) -> tuple[float, float]:
    """Width and height of a figure in which names have room."""
    n = len({*pairs.edges["source"], *pairs.edges["target"]})
    width = ONE_COLUMN if n <= 16 else min(ONE_COLUMN + 0.09 * (n - 16), TWO_COLUMNS)
    return width, 0.86 * width


def draw_network(ax: "Axes", pairs: GenePairs, *, weight: str, title: str | None) -> None:
    """Genes as dots, by the number of their pairs; pairs as lines, by their weight and its sign.

    Parameters
    ----------
    ax
        Axes to draw in.
    pairs
        From `choose_edges`.
    weight
        The column of the pairs' weight.
    title
        What is written above.
    """
    edges = pairs.edges
    graph = nx.Graph(list(zip(edges["source"], edges["target"], strict=True)))
    places = _lay_out_parts(graph)
    genes = list(graph)
    xy = np.array([places[each] for each in genes])
    degrees = np.array([graph.degree(each) for each in genes], dtype=float)
    sizes = _LEAST_DOT + (_MOST_DOT - _LEAST_DOT) * np.sqrt(
        (degrees - 1) / max(degrees.max() - 1, 1)
    )
    ax.set(xticks=[], yticks=[])
    ax.set_aspect("equal")
    ax.margins(0.08)
    ax.scatter(*xy.T, s=sizes, color="#6F6F6F", linewidths=0.6, edgecolors="white", zorder=3)
    entitle(ax, title)
    ax.axis("off")
    _draw_edges(ax, pairs, weight, places, dict(zip(genes, sizes, strict=True)))
    _name_dots(ax, genes, xy, sizes)


def _draw_edges(
    ax: "Axes",
    pairs: GenePairs,
    weight: str,
    places: Mapping[str, NDArray[np.float64]],
    sizes: Mapping[str, float],
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyArrowPatch

    weights = pairs.edges[weight].to_numpy(dtype=float)
    most = np.abs(weights).max() or 1
    both = {*zip(pairs.edges["source"], pairs.edges["target"], strict=True)}
    for source, target, own in zip(
        pairs.edges["source"], pairs.edges["target"], weights, strict=True
    ):
        width = _LEAST_WIDTH + (_MOST_WIDTH - _LEAST_WIDTH) * abs(own) / most
        bend = 0.18 if pairs.is_directed and (target, source) in both else 0.0
        ax.add_patch(FancyArrowPatch(
            places[source], places[target], linewidth=width, alpha=0.75, zorder=2,
            color=UP if own > 0 else DOWN, connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>,head_length=2.4,head_width=1.3" if pairs.is_directed else "-",
            shrinkA=sizes[source] ** 0.5 / 2, shrinkB=sizes[target] ** 0.5 / 2 + 0.5,
            mutation_scale=1 + width / 2, capstyle="butt", joinstyle="miter",
        ))  # fmt: skip
    signs = [(UP, "positive"), (DOWN, "negative")]
    there = [(weights > 0).any(), (weights < 0).any()]
    rows = [(colour, word) for (colour, word), own in zip(signs, there, strict=True) if own]
    handles = [Line2D([], [], color=colour, linewidth=1.6) for colour, _ in rows]
    names = [f"{word} {_say(weight, pairs.by)}, up to {_most(weights, word):.2g}"
             for _, word in rows]  # fmt: skip
    add_legend(ax, handles, [literal(each, 80) for each in names], loc="upper center",
               bbox_to_anchor=(0.5, 0.0), handletextpad=0.6)  # fmt: skip


def _most(weights: NDArray[np.float64], word: str) -> float:
    return float(weights.max() if word == "positive" else weights.min())


def _name_dots(
    ax: "Axes", genes: Sequence[str], xy: NDArray[np.float64], sizes: NDArray[np.float64]
) -> None:
    """Names above their dots, moved off other names and dots."""
    from matplotlib.patheffects import withStroke

    figure = lay_out(ax)
    points = 72 / figure.dpi
    radii = np.sqrt(sizes) / 2
    texts = [
        ax.annotate(
            literal(gene, 18), place, xytext=(0, radius + 0.6 * SMALL), ha="center", va="center",
            textcoords="offset points", fontsize=SMALL, color="black", zorder=5,
            path_effects=[withStroke(linewidth=1.6, foreground="white")],
        )
        for gene, place, radius in zip(genes, xy, radii, strict=True)
    ]  # fmt: skip
    renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
    boxes = np.array([each.get_window_extent(renderer).extents for each in texts]) * points
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    halves[:, 1] = 0.55 * SMALL
    dots = ax.transData.transform(xy) * points
    moved = push_apart(centres, halves, np.column_stack([dots, radii]))
    for text, own, dot in zip(texts, moved, dots, strict=True):
        text.set_position(tuple(own - dot))


def _lay_out_parts(graph: Any) -> dict[str, NDArray[np.float64]]:
    """Parts that hang together each by the lengths of paths (Kamada and Kawai), in rows by size."""
    parts = sorted(nx.connected_components(graph), key=lambda part: (-len(part), min(part)))
    placed: dict[str, NDArray[np.float64]] = {}
    widest, x, y, row_height = 0.0, 0.0, 0.0, 0.0
    for part in parts:
        genes = sorted(part)
        own = _place_part(graph.subgraph(genes), genes)
        own -= own.min(axis=0)
        width, height = own.max(axis=0)
        if placed and x + width > widest:
            x, y = 0.0, y - row_height - _ROOM
            row_height = 0.0
        placed.update({gene: place + (x, y - height) for gene, place in
                       zip(genes, own, strict=True)})  # fmt: skip
        x, row_height = x + width + _ROOM, max(row_height, height)
        widest = max(widest, x - _ROOM, 1.2 * len(graph) ** 0.5)
    return placed


def _place_part(part: Any, genes: Sequence[str]) -> NDArray[np.float64]:
    ordered = nx.Graph()
    ordered.add_nodes_from(genes)
    ordered.add_edges_from(sorted(tuple(sorted(each)) for each in part.edges))
    placed = nx.kamada_kawai_layout(ordered)
    own = np.array([placed[gene] for gene in genes])
    spans = [np.linalg.norm(own[genes.index(a)] - own[genes.index(b)]) for a, b in ordered.edges]
    return own / max(float(np.median(spans)), 1e-9)


def _has_both_ways(edges: pd.DataFrame) -> bool:
    """A table of pairs without direction has each pair once."""
    there = {*zip(edges["source"], edges["target"], strict=True)}
    return any((target, source) in there for source, target in there)


def _tell_apart(edges: pd.DataFrame) -> pd.DataFrame:
    """Symbols, with the Ensembl id where two genes have the same."""
    edges = edges.reset_index(drop=True).copy()
    ids = [f"{side}_ensembl_id" for side in _SIDES]
    for side in _SIDES:
        edges[side] = edges[side].astype(str)
    if set(ids) <= set(edges.columns):
        named = pd.concat([
            edges[[f"{side}_ensembl_id", side]].set_axis(["id", "symbol"], axis=1)
            for side in _SIDES
        ]).drop_duplicates()  # fmt: skip
        double = set(named.loc[named["symbol"].duplicated(keep=False), "symbol"])
        for side in _SIDES:
            own = edges[side].isin(double)
            told = edges[side] + " " + edges[f"{side}_ensembl_id"].astype(str)
            edges[side] = edges[side].where(~own, told)
    return edges


def _is_square(network: Any) -> bool:
    return (
        isinstance(network, pd.DataFrame)
        and len(network) > 0
        and list(map(str, network.index)) == list(map(str, network.columns))
    )


def _as_matrix(pairs: GenePairs, value: str) -> pd.DataFrame:
    table = pairs.edges.pivot_table(index="target", columns="source", values=value, aggfunc="first")
    genes = sorted({*table.index, *table.columns})
    matrix = table.reindex(index=genes, columns=genes).astype(float)
    return matrix if pairs.is_directed else matrix.fillna(matrix.T)


def _strongest(matrix: pd.DataFrame, n_genes: int) -> list[str]:
    """Genes with the greatest values among themselves: the weakest goes, again and again."""
    if n_genes < 2:
        raise SettingsError(f"n_genes is {n_genes}.", "At least 2.", "Correct n_genes.")
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
    names = _known_names(as_names(genes, "genes"), [str(each) for each in matrix.index])
    if len(names) < 2:
        raise SettingsError("genes names one gene.", "Two or more.", "Name more (genes).")
    return names


def _known_names(names: Sequence[str], known: Sequence[str]) -> list[str]:
    absent = [each for each in names if each not in known]
    if absent:
        raise SettingsError(
            f"The network has no gene {absent[0]!r}{did_you_mean(absent[0], known)}",
            f"Genes of the {len(known):,} that its pairs have.",
            "Correct genes, or keep more pairs when the network is made: top=None (--top 0).",
        )
    return list(dict.fromkeys(names))


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


def _say(value: str, by: str) -> str:
    if value == "effect":
        return {"attention": "attention", "similarity": "cosine of the genes' vectors",
                "perturbation": "1 - cosine after deletion"}.get(by, "effect")  # fmt: skip
    return _SPOKEN.get(value, value)


def _say_sides(by: str) -> tuple[str, str]:
    if by == "attention":
        return "attended to", "attends"
    return "acts", "acted upon"
