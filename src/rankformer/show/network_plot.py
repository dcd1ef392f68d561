"""A network of genes, drawn: dots, lines and names that keep off each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.names import as_names
from rankformer.show.canvas import SMALL, Panel, add_legend, entitle, literal, text_widths
from rankformer.show.cell_values import require
from rankformer.show.gene_pairs import GenePairs, Network, known_names, read_pairs, say_value
from rankformer.show.label_layout import push_apart
from rankformer.show.palette import DOWN, UP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 18
# Points.
_LEAST_WIDTH, _MOST_WIDTH = 0.5, 2.2
_LEAST_RADIUS, _MOST_RADIUS = 1.9, 5.2
_EDGE, _PAD = 38.0, 1.5
_MOST_POINTS = 480.0
_DOTS = "#6F6F6F"


@dataclass(frozen=True, eq=False)
class NetworkDrawing:
    """Where genes stand.

    Attributes
    ----------
    pairs
        Of the genes.
    genes
        Their names, each once.
    places
        (n_genes, 2) points, from the lower left corner.
    radii
        (n_genes,) points.
    extent
        Width and height of all, with the names, in points.
    """

    pairs: GenePairs
    genes: list[str]
    places: NDArray[np.float64]
    radii: NDArray[np.float64]
    extent: tuple[float, float]


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
        names = known_names(as_names(genes, "genes"), known)
        edges = edges[edges["source"].isin(names) | edges["target"].isin(names)]
    if n_edges < 1 or not len(edges):
        raise SettingsError(
            f"n_edges is {n_edges}; there are {len(edges):,} pairs with a {weight}.",
            "At least one pair.",
            "Correct n_edges, weight or genes.",
        )
    return GenePairs(edges.head(n_edges).reset_index(drop=True), pairs.is_directed, pairs.by)


def place_genes(pairs: GenePairs) -> NetworkDrawing:
    """Place genes by the lengths of the paths between them (Kamada and Kawai).

    Parts that do not hang together stand in rows, the largest first; then what overlaps, each dot
    with its name above it being a box, is pushed apart.
    """
    import networkx as nx

    graph = nx.Graph(list(zip(pairs.edges["source"], pairs.edges["target"], strict=True)))
    genes = sorted(graph)
    degrees = np.array([graph.degree(each) for each in genes], dtype=float)
    shares = np.sqrt((degrees - 1) / max(degrees.max() - 1, 1))
    radii = _LEAST_RADIUS + (_MOST_RADIUS - _LEAST_RADIUS) * shares
    halves = (
        np.column_stack(
            [
                np.maximum(text_widths([literal(each, _LONGEST) for each in genes]) / 2, radii),
                radii + 0.6 * SMALL,
            ]
        )
        + _PAD
    )
    parts = sorted(nx.connected_components(graph), key=lambda part: (-len(part), min(part)))
    centres = np.zeros((len(genes), 2))
    for part in parts:
        own = np.array([i for i, gene in enumerate(genes) if gene in part])
        placed = _place_part(graph, [genes[i] for i in own])
        centres[own] = push_apart(placed, halves[own])
    _put_in_rows(centres, halves, [[genes.index(each) for each in part] for part in parts])
    low, high = (centres - halves).min(axis=0), (centres + halves).max(axis=0)
    # A dot is below the middle of the box that it makes with its name.
    places = centres - low - [0, 0.6 * SMALL]
    return NetworkDrawing(pairs, genes, places, radii, tuple(high - low))


def network_size(drawing: NetworkDrawing) -> Panel:
    """Axes of a unit a point, unless that is wider than a page."""
    scale = min(1, _MOST_POINTS / max(drawing.extent)) / 72
    width, height = drawing.extent
    return Panel(width * scale, height * scale)


def draw_network(ax: "Axes", drawing: NetworkDrawing, *, weight: str, title: str | None) -> None:
    """Genes as dots, by the number of their pairs; pairs as lines, by their weight and its sign.

    Parameters
    ----------
    ax
        Axes to draw in.
    drawing
        From `place_genes`.
    weight
        The column of the pairs' weight.
    title
        What is written above.
    """
    from matplotlib.patheffects import withStroke

    width, height = drawing.extent
    ax.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[], aspect="equal")
    ax.axis("off")
    entitle(ax, title)
    ax.scatter(drawing.places[:, 0], drawing.places[:, 1], s=(2 * drawing.radii) ** 2, color=_DOTS,
               linewidths=0.5, edgecolors="white", zorder=3)  # fmt: skip
    _draw_edges(ax, drawing, weight)
    for gene, (x, y), radius in zip(drawing.genes, drawing.places, drawing.radii, strict=True):
        ax.annotate(
            literal(gene, _LONGEST), (x, y), xytext=(0, radius + 0.6 * SMALL), ha="center",
            va="center", textcoords="offset points", fontsize=SMALL, color="black", zorder=5,
            path_effects=[withStroke(linewidth=1.6, foreground="white")],
        )  # fmt: skip


def _draw_edges(ax: "Axes", drawing: NetworkDrawing, weight: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyArrowPatch

    pairs = drawing.pairs
    weights = pairs.edges[weight].to_numpy(dtype=float)
    most = np.abs(weights).max() or 1
    place = {gene: i for i, gene in enumerate(drawing.genes)}
    ends = list(zip(pairs.edges["source"], pairs.edges["target"], strict=True))
    there = set(ends)
    for (source, target), own in zip(ends, weights, strict=True):
        width = _LEAST_WIDTH + (_MOST_WIDTH - _LEAST_WIDTH) * abs(own) / most
        (x, y), (to_x, to_y) = drawing.places[place[source]], drawing.places[place[target]]
        bend = 0.18 if pairs.is_directed and (target, source) in there else 0.0
        ax.add_patch(FancyArrowPatch(
            (float(x), float(y)), (float(to_x), float(to_y)), linewidth=width, alpha=0.75,
            zorder=2, color=UP if own > 0 else DOWN, connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>,head_length=2,head_width=1" if pairs.is_directed else "-",
            shrinkA=drawing.radii[place[source]], shrinkB=drawing.radii[place[target]] + 0.5,
            mutation_scale=1 + width / 3, capstyle="butt", joinstyle="miter",
        ))  # fmt: skip
    words = [("positive", UP, weights.max()), ("negative", DOWN, weights.min())]
    rows = [each for each in words if (each[2] > 0) == (each[0] == "positive") and each[2]]
    meaning = say_value(weight, pairs.by)
    handles = [Line2D([], [], color=colour, linewidth=1.6) for _, colour, _ in rows]
    names = [literal(f"{word} {meaning}, up to {most:.2g}", 80) for word, _, most in rows]
    add_legend(ax, handles, names, loc="upper left", bbox_to_anchor=(0, 0), handletextpad=0.6)


def _place_part(graph: Any, genes: Sequence[str]) -> NDArray[np.float64]:
    """(n, 2) points of genes that hang together, an edge being some 38 points long."""
    import networkx as nx

    ordered = nx.Graph()
    ordered.add_nodes_from(genes)
    inner = graph.subgraph(genes).edges
    ordered.add_edges_from(sorted(tuple(sorted(each)) for each in inner if each[0] != each[1]))
    placed = nx.kamada_kawai_layout(ordered)
    own = np.array([placed[gene] for gene in genes])
    at = {gene: i for i, gene in enumerate(genes)}
    spans = [np.linalg.norm(own[at[a]] - own[at[b]]) for a, b in ordered.edges]
    return own * _EDGE / max(float(np.median(spans)) if spans else 1.0, 1e-9)


def _put_in_rows(
    centres: NDArray[np.float64], halves: NDArray[np.float64], parts: Sequence[Sequence[int]]
) -> None:
    """Move parts beside each other, as wide as the first, and below each other; in place."""
    widest = x = top = row = 0.0
    for part in parts:
        own = list(part)
        low = (centres[own] - halves[own]).min(axis=0)
        width, height = (centres[own] + halves[own]).max(axis=0) - low
        if x and x + width > widest:
            x, top, row = 0.0, top - row, 0.0
        centres[own] += [x - low[0], top - height - low[1]]
        x, row = x + width, max(row, height)
        widest = max(widest, x, 7 * _EDGE)
