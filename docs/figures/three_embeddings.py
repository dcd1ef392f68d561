"""The vectors of tokens after the last layer, and the three embeddings that are made of them."""

import numpy as np
from drawing import GREY, PALE_BLUE, PALE_SAND, TEAL, WINE, arrow, box, canvas, write
from example_cells import read_tokens
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

ROW, TOP, LEFT = 0.34, 3.95, 1.5
N_GENES, N_NUMBERS = 5, 32


def draw() -> Figure:
    """Tokens, their vectors, and which of them make which embedding."""
    names, vectors = read_tokens()
    figure, axes = canvas(9.2, 4.6)
    write(axes, 0.15, 4.35, "Tokens", fontsize=11, weight="bold")
    write(axes, LEFT, 4.35, "Vectors after the last layer", fontsize=11, weight="bold")
    write(axes, 6.0, 4.35, "Embeddings", fontsize=11, weight="bold")
    shown = [0, *range(1, 1 + N_GENES), None, len(names) - 2, len(names) - 1]
    for i, token in enumerate(shown):
        y = TOP - i * ROW
        special = token in (0, len(names) - 1)
        text = "…" if token is None else names[token]
        colour = "white" if token is None else PALE_SAND if special else PALE_BLUE
        box(axes, 0.15, y - 0.13, (1.1, 0.26), text, colour=colour)
        if token is not None:
            draw_vector(axes, vectors[token], y)
    mean_y = TOP - len(shown) * ROW - 0.2
    draw_vector(axes, vectors[1:-1].mean(axis=0), mean_y)
    write(axes, LEFT - 0.1, mean_y, "mean of genes", ha="right", fontsize=8.5)
    draw_embeddings(axes, len(shown), mean_y)
    write(
        axes, 0.15, 0.2,
        f"The same cell in rankformer-mini; {N_NUMBERS} of {vectors.shape[1]} numbers of each "
        "vector, in its own scale: green is positive, purple negative.",
        fontsize=8.5, color=GREY,
    )  # fmt: skip
    return figure


def draw_vector(axes: Axes, vector: NDArray[np.float32], y: float) -> None:
    """Numbers as colours, in its own scale; rounded, so that all machines draw the same."""
    usual = np.sqrt(np.mean(np.square(vector)))
    strengths = np.clip(np.round(vector[:N_NUMBERS] / usual, 1) / 2, -1, 1)
    for i, strength in enumerate(strengths.tolist()):
        colour = TEAL if strength > 0 else WINE
        axes.barh(
            y, 0.12, left=LEFT + 0.12 * i, height=0.22, color=colour, alpha=round(abs(strength), 2)
        )


def draw_embeddings(axes: Axes, n_rows: int, mean_y: float) -> None:
    """What is taken from where."""
    right, x = LEFT + 0.12 * N_NUMBERS + 0.08, 6.0
    first, last = TOP - ROW, TOP - (n_rows - 2) * ROW
    arrow(axes, (right, TOP), (x - 0.08, TOP))
    write(axes, x, TOP, "cls: the vector of <cls>, which V2\nmodels have.")
    axes.plot([right, right + 0.12, right + 0.12, right], [first + 0.1] * 2 + [last - 0.1] * 2,
              color=GREY, linewidth=1.2)  # fmt: skip
    middle = (first + last) / 2
    arrow(axes, (right + 0.12, middle), (x - 0.08, middle))
    write(axes, x, middle, "gene: a vector for each gene of the cell,\nwhich depends on the "
          "genes beside it.")  # fmt: skip
    arrow(axes, (right, mean_y), (x - 0.08, mean_y))
    write(axes, x, mean_y, "cell: the mean over the genes; <cls> and\n<eos> are left out. This is "
          "the default.")  # fmt: skip
