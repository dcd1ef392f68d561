"""Two ways of counting the layers of a model."""

from drawing import GREY, PALE, PALE_BLUE, PALE_GREEN, arrow, box, canvas, write
from matplotlib.figure import Figure

from rankformer import EncoderSpec

N_LAYERS = 12
# Of gf-12L-95M-i4096.
SPEC = EncoderSpec(
    vocab_size=20_275, n_layers=N_LAYERS, d_model=512, n_heads=8, d_ff=1024, max_positions=4096
)
ROW, BOTTOM = 0.36, 0.75


def draw() -> Figure:
    """A row for each hidden state, the last one at the top."""
    figure, axes = canvas(8.2, 4.5)
    top = BOTTOM + 8.1 * ROW
    titles = (
        (1.4, "Output of"),
        (3.85, "hidden_states\n(the default)"),
        (6.5, "published\n(geneformer)"),
    )
    for x, title in titles:
        write(axes, x, top + 0.5, title, ha="center", fontsize=10, weight="bold")
    shown = [0, 1, 2, None, N_LAYERS - 2, N_LAYERS - 1, N_LAYERS]
    for row, index in enumerate(shown):
        y = BOTTOM + row * 1.16 * ROW
        if index is None:
            write(axes, 1.4, y + 0.14, "…", ha="center")
            continue
        text = "embedding layer" if index == 0 else f"layer {index}"
        colour = PALE if index == 0 else PALE_GREEN if index == N_LAYERS else PALE_BLUE
        box(axes, 0.4, y, (2.0, 0.28), text, colour=colour)
        bold = "bold" if index >= N_LAYERS - 1 else "normal"
        write(
            axes, 3.85, y + 0.14, f"{index}  or  {index - N_LAYERS - 1}", ha="center", weight=bold
        )
        write(axes, 6.5, y + 0.14, f"{published(index)}", ha="center", weight=bold)
    arrow(axes, (0.2, BOTTOM), (0.2, top + 0.2))
    write(
        axes, 0.4, 0.35,
        "A model of 12 layers. The same -1 is the last layer in one way of counting, and the one "
        "before it in the other.",
        fontsize=8.5, color=GREY,
    )  # fmt: skip
    return figure


def published(index: int) -> int:
    """What the published package calls a hidden state, as rankformer translates it back."""
    layer = index - N_LAYERS
    if SPEC.hidden_state_index(layer, "published") != index:
        raise ValueError(f"{layer} is not hidden state {index}.")
    return layer
