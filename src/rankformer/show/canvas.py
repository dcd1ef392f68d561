"""Axes to draw in, and what becomes of their figure: shown, saved, or handed back."""

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankformer.errors import expect_type
from rankformer.requirements import require_packages
from rankformer.results.output_checks import PICTURE_FORMATS, check_target
from rankformer.scratch import whole_or_nothing
from rankformer.show.palette import INK

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from numpy.typing import NDArray

Box = tuple[float, float, float, float]
# Inches, as journals set them; points.
ONE_COLUMN, TWO_COLUMNS, HIGHEST = 3.4, 7.0, 9.0
TEXT, SMALL = 8.0, 7.0
_LINE = 0.6
_DPI = 300
_LONGEST_NAME = 36
# Nothing of the clock or of chance, so that the same picture is the same file.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
# Letters stay letters, which can be edited, as journals ask.
_FILE_SETTINGS: Any = {"svg.hashsalt": "rankformer", "svg.fonttype": "none", "pdf.fonttype": 42}


@dataclass(frozen=True)
class Panel:
    """Inches of axes, around which a figure grows with its names, legends and colour bars.

    Attributes
    ----------
    width, height
        Of the axes. Without a height they are square, and the width is that of the whole figure,
        unless the axes would be smaller than `least`.
    least
        The smallest side of square axes.
    """

    width: float
    height: float | None = None
    least: float = 1.5


@contextmanager
def canvas(
    size: tuple[float, float] | Panel,
    *,
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: str | os.PathLike[str] | None = None,
) -> "Iterator[Axes]":
    """Axes to draw in; at the end the figure is saved and shown, where that was asked for.

    pyplot is loaded only where the figure is shown. Where it is in use already, a figure that is
    not saved is pyplot's too, so that ``plt.show()`` and ``plt.savefig()`` find it.

    Parameters
    ----------
    size
        Width and height of a new figure, in inches; or of its axes, around which it grows.
    ax
        Axes to draw in; new ones unless given.
    show
        Whether to show the figure; by default where neither `ax` nor `save` is given.
    save
        A file to write the figure to, ``.png``, ``.svg`` or ``.pdf``; what is there is replaced.

    Raises
    ------
    SettingsError, OutputError
        If matplotlib is not installed, or the file cannot be written.
    """
    require_packages("matplotlib", extra="plot")
    from matplotlib.axes import Axes

    expect_type(
        ax, (Axes, type(None)), "ax", "Axes of matplotlib, or None.",
        "Pass one of them: figure, ax = matplotlib.pyplot.subplots().",
    )  # fmt: skip
    path = None if save is None else check_target(save, PICTURE_FORMATS, overwrite=True)
    shows = show if show is not None else ax is None and save is None
    is_own = ax is None
    is_of_pyplot = is_own and (shows or (path is None and "matplotlib.pyplot" in sys.modules))
    axes = new_axes(size, of_pyplot=is_of_pyplot) if ax is None else ax
    try:
        yield axes
        if path is not None:
            save_figure(_figure_of(axes), path, overwrite=True)
    except BaseException:
        if is_of_pyplot:
            sys.modules["matplotlib.pyplot"].close(axes.figure)
        raise
    if shows:
        axes.figure.figure.draw_without_rendering()
        _show(is_asked=show is True)


def new_axes(size: tuple[float, float] | Panel, *, of_pyplot: bool = False) -> "Axes":
    """Axes of a new figure, whose parts are laid out within its size or around that of its axes."""
    from rankformer.show.panel_layout import PanelLayout

    layout: Any = "constrained"
    if isinstance(size, Panel):
        layout = PanelLayout(size.width, size.height, size.least)
        size = (size.width + 1, (size.height or size.width) + 1)
    if of_pyplot:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=size, layout=layout)
    else:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout=layout)
        FigureCanvasAgg(figure)
    return figure.add_subplot()


def save_figure(figure: "Figure", path: Path, *, overwrite: bool) -> None:
    """Write a figure to a file, which appears whole or not at all; its ending is the format.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with whole_or_nothing(path, overwrite=overwrite) as part:
        write_figure(figure, part)


def write_figure(figure: "Figure", file: Path) -> None:
    """Write a figure: the same one always as the same bytes."""
    from matplotlib import rc_context

    # The size of a figure that grows around its axes is settled before its canvas is made.
    figure.draw_without_rendering()
    with rc_context(_FILE_SETTINGS):
        figure.savefig(
            file, format=file.suffix[1:], dpi=_DPI, facecolor="white",
            metadata=_METADATA[file.suffix],
        )  # fmt: skip


def lay_out(axes: "Axes") -> Any:
    """Give the parts of a figure their final places, for what is placed by them."""
    figure = _figure_of(axes)
    figure.draw_without_rendering()
    return figure


def plain(axes: "Axes") -> None:
    """Text of 7 and 8 points, thin lines, and no box around the axes."""
    axes.spines[["top", "right"]].set_visible(False)
    for each in axes.spines.values():
        each.set_linewidth(_LINE)
        each.set_edgecolor(INK)
    axes.tick_params(labelsize=SMALL, width=_LINE, length=2.5, color=INK, labelcolor=INK)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(TEXT)
        label.set_color(INK)


def entitle(axes: "Axes", title: str | None) -> None:
    """A title above the left edge of the axes."""
    if title:
        axes.set_title(literal(title, 80), loc="left", fontsize=TEXT, color=INK)


def literal(text: object, most: int = _LONGEST_NAME) -> str:
    """A name as it stands, on one line: a dollar sign begins no formula; too long, cut within."""
    line = " ".join(str(text).split()) or "(empty)"
    if len(line) > most:
        # Ends tell names apart that begin alike.
        line = f"{line[: most - 9].rstrip()}…{line[-8:].lstrip()}"
    return line.replace("$", r"\$")


def text_widths(texts: Sequence[str]) -> "NDArray[np.float64]":
    """(n,) points of texts of 7 points, as they are written."""
    import numpy as np
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font, measure = FontProperties(size=SMALL), TextToPath()
    return np.array([
        measure.get_text_width_height_descent(each, font, False)[0] for each in texts
    ])  # fmt: skip


def add_colour_bar(
    axes: "Axes",
    mappable: Any,
    label: str,
    *,
    box: tuple[float, float, float, float] = (1.03, 0, 0.045, 1),
) -> "Axes":
    """A colour bar beside the axes, which neither moves nor shrinks them.

    Parameters
    ----------
    axes, mappable
        What it is of.
    label
        What it means.
    box
        Left, bottom, width and height as shares of the axes.
    """
    beside = axes.inset_axes(box)
    bar = _figure_of(axes).colorbar(mappable, cax=beside)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=SMALL, color=INK)
    beside.tick_params(labelsize=SMALL, width=_LINE, length=2, color=INK, labelcolor=INK)
    return beside


def add_legend(axes: "Axes", handles: Sequence[Any], names: Sequence[str], **how: Any) -> "Legend":
    """A legend with names as they stand: also those that begin with an underscore."""
    options = {
        "frameon": False, "fontsize": SMALL, "title_fontsize": SMALL, "alignment": "left",
        "handletextpad": 0.3, "labelspacing": 0.35, "borderaxespad": 0.4, "columnspacing": 1.0,
        "labelcolor": INK, **how,
    }  # fmt: skip
    legend = axes.legend(handles, [str(i) for i in range(len(handles))], **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
    legend.get_title().set_color(INK)
    return legend


def _figure_of(axes: "Axes") -> Any:
    figure: Any = axes.figure
    # Of a subfigure the figure that holds it.
    return figure.figure


def _show(*, is_asked: bool) -> None:
    from matplotlib import pyplot

    with warnings.catch_warnings():
        if not is_asked:
            # A script without a screen draws all the same.
            warnings.filterwarnings("ignore", message=".*non-interactive.*cannot be shown")
        pyplot.show()
