"""What deleting and overexpressing a gene does to the tokens of a cell."""

from drawing import GREY, PALE_BLUE, PALE_GREEN, PALE_RED, PALE_SAND, arrow, box, canvas, write
from example_cells import read_tokens
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DELETED, RAISED = "RHOC", "NKG7"
ROW, TOP = 0.36, 3.65
SHOWN = 9


def draw() -> Figure:
    """The tokens as they are, without a gene, and with a gene on top."""
    names, _ = read_tokens()
    genes = list(names[1:-1])
    figure, axes = canvas(9.2, 4.6)
    place = genes.index(RAISED) + 1
    deleted = [gene for gene in genes if gene != DELETED]
    raised = [RAISED, *(gene for gene in genes if gene != RAISED)]
    columns = (
        (0.35, "The cell as it is", genes),
        (3.45, f"delete {DELETED}", deleted),
        (6.55, f"overexpress {RAISED}", raised),
    )
    for x, title, tokens in columns:
        write(axes, x, 4.3, title, fontsize=11, weight="bold")
        draw_tokens(axes, x, tokens)
    write(axes, 5.0, TOP - 7 * ROW, "later genes\nmove up", fontsize=8.5, color=GREY)
    arrow(axes, (4.9, TOP - 8 * ROW), (4.9, TOP - 6 * ROW))
    write(axes, 8.1, TOP - ROW, f"was {place}th", fontsize=8.5, color=GREY)
    write(axes, 8.1, TOP - 5 * ROW, "the others\nmove down", fontsize=8.5, color=GREY)
    arrow(axes, (8.0, TOP - 4 * ROW), (8.0, TOP - 6 * ROW))
    write(
        axes, 0.35, 0.25,
        "The model embeds each of them. How far the embedding moved, and whether towards the cells "
        "of another state, is the effect.",
        fontsize=8.5, color=GREY,
    )  # fmt: skip
    return figure


def draw_tokens(axes: Axes, x: float, genes: list[str]) -> None:
    """A column of tokens; the two genes have colours of their own."""
    colours = {DELETED: PALE_RED, RAISED: PALE_GREEN, "<cls>": PALE_SAND}
    for i, text in enumerate(["<cls>", *genes[: SHOWN - 2], "…"]):
        colour = "white" if text == "…" else colours.get(text, PALE_BLUE)
        box(axes, x, TOP - i * ROW - 0.14, (1.35, 0.28), text, colour=colour)
