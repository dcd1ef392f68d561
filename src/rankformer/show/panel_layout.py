"""Axes of a size that was asked for, with room around them for names, legends and colour bars."""

from importlib import import_module
from typing import Any

from matplotlib.layout_engine import LayoutEngine

# More than nothing: viewers of SVG set text a little wider.
_PAD = 0.06
_ROUNDS = 4
_CLOSE = 0.004


class PanelLayout(LayoutEngine):
    """Gives the one axes of a figure its size, and the figure that of the axes and their names.

    Parameters
    ----------
    width, height
        Inches of the axes. Without a height they are square, and the width is that of the figure,
        if the axes are then not smaller than `least`.
    least
        The smallest side of square axes.
    """

    _adjust_compatible = True
    _colorbar_gridspec = True

    def __init__(self, width: float, height: float | None, least: float) -> None:
        super().__init__()
        self.width, self.height, self.least = width, height, least

    def execute(self, fig: Any) -> None:
        """Measure what lies around the axes, and place these; matplotlib calls it at each draw."""
        axes = fig.axes[0]
        for _ in range(_ROUNDS):
            left, bottom, right, top = _overhang(fig, axes)
            width, height = self._inches(left + right)
            figure_size = (width + left + right, height + bottom + top)
            box = (left / figure_size[0], bottom / figure_size[1],
                   width / figure_size[0], height / figure_size[1])  # fmt: skip
            if _is_as_it_was(fig, axes, figure_size, box):
                return
            fig.set_size_inches(figure_size)
            axes.set_position(box)

    def _inches(self, around: float) -> tuple[float, float]:
        if self.height is not None:
            return self.width, self.height
        side = max(self.width - around, self.least)
        return side, side


def _overhang(fig: Any, axes: Any) -> tuple[float, float, float, float]:
    """Inches of what stands left, below, right and above the axes."""
    agg: Any = import_module("matplotlib.backends.backend_agg")

    inches = fig.get_size_inches() * fig.dpi
    renderer: Any = agg.RendererAgg(*(max(int(each), 1) for each in inches), fig.dpi)
    outer, inner = axes.get_tightbbox(renderer), axes.get_window_extent(renderer)
    around = (inner.x0 - outer.x0, inner.y0 - outer.y0, outer.x1 - inner.x1, outer.y1 - inner.y1)
    left, bottom, right, top = (max(each, 0) / fig.dpi + _PAD for each in around)
    return left, bottom, right, top


def _is_as_it_was(
    fig: Any, axes: Any, size: tuple[float, float], box: tuple[float, float, float, float]
) -> bool:
    now = (*fig.get_size_inches(), *axes.get_position().bounds)
    return all(abs(a - b) < _CLOSE for a, b in zip(now, (*size, *box), strict=True))
