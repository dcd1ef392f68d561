"""From the counts of one cell to its tokens."""

import numpy as np
from drawing import GREY, INDIGO, PALE_BLUE, PALE_SAND, ROSE, arrow, box, canvas, write
from example_cells import read_cell
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SHOWN = ("NKG7", "GNLY", "CLIC3", "IL32", "FTL", "CD7", "GSTP1", "IDH2", "SH3GL1")
PLACES = {1: "first", 2: "second", 7: "last: what is beyond\n2,048 inputs is cut off"}
ROW, TOP = 0.36, 4.0


def draw() -> Figure:
    """Counts, their values by the genes' medians, and the genes in their order."""
    cell = read_cell()
    figure, axes = canvas(9.5, 4.9)
    places = [cell.symbols.index(each) for each in SHOWN]
    ranks = np.empty(len(cell.symbols), int)
    ranks[cell.order] = np.arange(1, len(cell.symbols) + 1)
    titles = ("1  Counts of the cell", "2  Per 10,000, by the gene's median", "3  Genes by value")
    for x, title in zip((0.15, 3.15, 7.0), titles, strict=True):
        write(axes, x, 4.65, title, fontsize=11, weight="bold")
    write(axes, 6.72, 4.3, "rank", ha="right", fontsize=8, color=GREY)
    draw_bars(axes, [cell.counts[i] for i in places], 1.0, "{:.0f}", INDIGO)
    draw_bars(axes, [cell.values[i] for i in places], 4.75, "{:.2f}", ROSE)
    for i, gene in enumerate(places):
        y = TOP - i * ROW
        write(axes, 0.9, y, cell.symbols[gene], ha="right")
        write(axes, 4.6, y, f"median {cell.medians[gene]:.1f}", ha="right", color=GREY, fontsize=8)
        write(axes, 6.72, y, f"{ranks[gene]}.", ha="right", fontsize=8, color=GREY)
    draw_tokens(axes, [cell.symbols[i] for i in cell.order])
    write(
        axes, 0.15, 0.4,
        f"Nine of the {len(cell.symbols)} genes that a natural killer cell shows. NKG7 has most "
        "counts, but is high in many cells: it comes 6th.\nCLIC3, with half of its counts, has "
        "nearly seven times its own median, and comes first. Grey: ranks among all genes.",
        fontsize=8.5, color=GREY,
    )  # fmt: skip
    return figure


def draw_bars(axes: Axes, values: list[float], x: float, shown: str, colour: str) -> None:
    """A bar and its number for each gene."""
    longest = max(values)
    for i, value in enumerate(values):
        y = TOP - i * ROW
        width = 1.35 * value / longest
        axes.barh(y, width, left=x, height=0.22, color=colour)
        write(axes, x + width + 0.06, y, shown.format(value), fontsize=8)


def draw_tokens(axes: Axes, genes: list[str]) -> None:
    """The first tokens of the cell, and those that do not fit."""
    rows = [("<cls>", PALE_SAND), *((gene, PALE_BLUE) for gene in genes[:5]), ("…", "white")]
    rows += [(genes[-1], PALE_BLUE), ("<eos>", PALE_SAND)]
    for i, (text, colour) in enumerate(rows):
        place = PLACES.get(i, "")
        box(axes, 7.0, TOP - i * ROW - 0.14, (1.15, 0.28), text, colour=colour)
        write(axes, 8.22, TOP - i * ROW, place, fontsize=7.5, color=GREY)
    arrow(axes, (2.72, 2.55), (3.3, 2.55))
