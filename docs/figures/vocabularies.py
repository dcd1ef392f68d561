"""The genes of the two published vocabularies, and those that have the same token in both."""

from drawing import GREY, INDIGO, PALE, ROSE, SAND, TEAL, canvas, write
from matplotlib.figure import Figure

# Counted in the published dictionaries: token_dictionary_gc30M.pkl and token_dictionary_gc104M.pkl.
V1, V2, BOTH, SAME_TOKEN = 25_424, 20_271, 19_625, 193
WIDTH = 6.4 / V1


def draw() -> Figure:
    """A bar for each vocabulary; shared genes stand above one another."""
    figure, axes = canvas(9.2, 2.75)
    left = 2.35
    rows = ((2.1, "V1 models", V1, "2,048 inputs"), (1.35, "V2 models", V2, "4,096, <cls>, <eos>"))
    for y, name, n_genes, framed in rows:
        write(axes, 0.15, y + 0.1, name, fontsize=10.5, weight="bold")
        write(axes, 0.15, y - 0.13, framed, fontsize=8.5, color=GREY)
        axes.barh(y, BOTH * WIDTH, left=left, height=0.42, color=TEAL)
        rest = (n_genes - BOTH) * WIDTH
        axes.barh(y, rest, left=left + BOTH * WIDTH, height=0.42, color=SAND)
        write(axes, left + 0.1, y, f"{BOTH:,} genes that both have", color="white")
    write(axes, left + (BOTH + V1) / 2 * WIDTH, 2.1, f"{V1 - BOTH:,}", ha="center")
    write(axes, left + V2 * WIDTH + 0.08, 1.35, f"{V2 - BOTH:,} genes of its own", color=GREY)
    axes.barh(0.6, BOTH * WIDTH, left=left, height=0.3, color=PALE)
    axes.barh(0.6, SAME_TOKEN * WIDTH, left=left, height=0.3, color=ROSE)
    write(axes, 0.15, 0.6, "Same token in both", fontsize=10.5, weight="bold")
    write(
        axes,
        left + SAME_TOKEN * WIDTH + 0.1,
        0.6,
        f"{SAME_TOKEN} of these {BOTH:,} genes",
        color=INDIGO,
    )
    write(
        axes, 0.15, 0.18,
        "Tokens of one vocabulary, given to a model of the other, are nearly all taken for other "
        "genes, and nothing would look wrong.",
        fontsize=8.5, color=GREY,
    )  # fmt: skip
    return figure
