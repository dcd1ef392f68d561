"""Pictures of an evaluation: methods side by side, calibration, ROC."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.evaluate.embedding_report import WHOLE, EmbeddingEvaluation
from rankformer.finetuning.classifier_report import ClassifierEvaluation
from rankformer.results.metric_names import (
    CLASSIFIER_FIGURES,
    DRAWN,
    EMBEDDING_FIGURES,
    in_order,
)
from rankformer.show.palette import CATEGORIES, GRID, INK, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Each with a shape of its own.
_COLOURS = CATEGORIES[: len(MARKERS)]
_MAJORITY_COLOUR, _MAJORITY_MARKER = "#7F7F7F", "x"
_NORMAL_QUANTILE = 1.96  # of 95%


def draw_embeddings(evaluation: EmbeddingEvaluation) -> "Figure":
    """Each figure a row, each method a mark with its spread over seeds; folds as thin strokes."""
    figures = in_order(evaluation.scores["figure"], EMBEDDING_FIGURES)
    methods = list(evaluation.scores["method"].unique())
    figure, axes = _begin_rows(len(figures), methods)
    by = evaluation.scores.set_index(["method", "figure"]).sort_index()
    for row, name in enumerate(figures):
        for place, method in enumerate(methods):
            if (method, name) in by.index:
                _draw_values(axes, by.loc[[(method, name)]], _place(row, place, methods), place,
                             methods)  # fmt: skip
    caption = "strokes: folds; bars: least to most over seeds"
    _finish_rows(figure, axes, [EMBEDDING_FIGURES[each] for each in figures], methods,
                 least=float(evaluation.scores["value"].min()), caption=caption)  # fmt: skip
    return figure


def draw_classifiers(evaluation: ClassifierEvaluation) -> "Figure":
    """Each figure a row, each method a mark."""
    figures = [each for each in in_order(evaluation.figures.index, CLASSIFIER_FIGURES)
               if each in DRAWN]  # fmt: skip
    methods = list(evaluation.figures.columns)
    values = evaluation.figures.loc[figures].to_numpy(dtype=np.float64)
    figure, axes = _begin_rows(len(figures), methods)
    for (row, place), value in np.ndenumerate(values):
        _mark(axes, value, _place(row, place, methods), place, methods)
    _finish_rows(figure, axes, [CLASSIFIER_FIGURES[each] for each in figures], methods, least=0.0)
    return figure


def draw_reliability(
    tables: Mapping[str, pd.DataFrame], errors: Mapping[str, float], methods: Sequence[str]
) -> "Figure":
    """Accuracy of predictions by their confidence, with intervals of 95%, and how many cells.

    Parameters
    ----------
    tables
        Bins, for each method.
    errors
        The calibration error of each.
    methods
        All methods of the evaluation: each keeps its colour.
    """
    figure, (curve, histogram) = _begin_two(5.4, 5.8, heights=(3.2, 1))
    curve.plot([0, 1], [0, 1], color="#9A9A9A", linewidth=1, linestyle=(0, (4, 3)))
    curve.text(0.03, 0.06, "as sure as right", color="#6F6F6F", fontsize=8.5, rotation=45,
               rotation_mode="anchor")  # fmt: skip
    width = 0.8 / len(tables)
    for place, (method, bins) in enumerate(tables.items()):
        colour, marker = _style(method, methods)
        filled = bins[bins["n_cells"] > 0]
        label = f"{method} (error {errors[method]:.3f})"
        curve.plot(filled["confidence"], filled["accuracy"], color=colour, marker=marker,
                   markersize=6, linewidth=1.6, label=label, clip_on=False)  # fmt: skip
        curve.vlines(filled["confidence"], *_wilson_interval(filled), color=colour, alpha=0.5,
                     linewidth=1)  # fmt: skip
        step = float(bins["highest"].iloc[0] - bins["lowest"].iloc[0])
        left = bins["lowest"] + step * (0.1 + place * width)
        shares = bins["n_cells"] / bins["n_cells"].sum()
        histogram.bar(left, shares, step * width, align="edge", color=colour)
    curve.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of predictions that are right")
    curve.tick_params(labelbottom=False)
    figure.legend(loc="outside upper left", frameon=False)
    histogram.set(xlim=(0, 1), xlabel="confidence of the prediction", ylabel="share of cells")
    _lighten(curve)
    _lighten(histogram)
    return figure


def draw_roc(
    tables: Mapping[str, pd.DataFrame],
    areas: Mapping[str, float],
    methods: Sequence[str],
    positive: str,
) -> "Figure":
    """ROC curves of two classes; `positive` is the class that is found."""
    figure, axes = _begin(5.2, 5.2)
    axes.plot([0, 1], [0, 1], color="#9A9A9A", linewidth=1, linestyle=(0, (4, 3)))
    for method, table in tables.items():
        colour, _ = _style(method, methods)
        axes.plot(table["false_positive_rate"], table["true_positive_rate"], color=colour,
                  linewidth=2, label=f"{method} (AUC {areas[method]:.3f})", clip_on=False,
                  drawstyle="default")  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", ylabel=f"share of {positive} found",
             xlabel=f"share of the others taken for {positive}")  # fmt: skip
    axes.set_title(f"ROC, {positive}", loc="left")
    axes.legend(frameon=False, loc="lower right")
    _lighten(axes)
    return figure


def _draw_values(
    axes: "Axes", values: pd.DataFrame, height: float, place: int, methods: Sequence[str]
) -> None:
    colour, _ = _style(methods[place], methods)
    folds = values.loc[values["fold"] != WHOLE, "value"]
    axes.scatter(folds, np.full(len(folds), height), marker="|", s=28, color=colour, alpha=0.4,
                 linewidths=1, zorder=2)  # fmt: skip
    whole = values.loc[values["fold"] == WHOLE, "value"]
    axes.plot([whole.min(), whole.max()], [height, height], color=colour, linewidth=2, zorder=3)
    _mark(axes, whole.mean(), height, place, methods)


def _mark(axes: "Axes", value: float, height: float, place: int, methods: Sequence[str]) -> None:
    colour, marker = _style(methods[place], methods)
    axes.scatter([value], [height], marker=marker, s=42, color=colour, zorder=4, clip_on=False)


def _wilson_interval(bins: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bounds of 95% of each bin's accuracy (Wilson 1927)."""
    n = bins["n_cells"].to_numpy(dtype=np.float64)
    share = bins["accuracy"].to_numpy(dtype=np.float64)
    z = _NORMAL_QUANTILE
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def _place(row: int, place: int, methods: Sequence[str]) -> float:
    return row + (place - (len(methods) - 1) / 2) * 0.72 / len(methods)


def _style(method: str, methods: Sequence[str]) -> tuple[str, str]:
    if method == methods[-1]:
        return _MAJORITY_COLOUR, _MAJORITY_MARKER
    place = list(methods).index(method) % len(_COLOURS)
    return _COLOURS[place], MARKERS[place]


def _begin_rows(n_rows: int, methods: Sequence[str]) -> tuple["Figure", "Axes"]:
    height = 1.2 + n_rows * max(0.34, 0.13 * len(methods)) + 0.18 * len(methods)
    return _begin(7.4, height)


def _finish_rows(
    figure: "Figure",
    axes: "Axes",
    names: Sequence[str],
    methods: Sequence[str],
    *,
    least: float,
    caption: str = "",
) -> None:
    from matplotlib.lines import Line2D

    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(min(0.0, least), 1)
    axes.set_xlabel(f"score, the higher the better{f' ({caption})' if caption else ''}")
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color=GRID, linewidth=0.8, zorder=0)
    handles = [
        Line2D([], [], linestyle="", color=colour, marker=marker, label=method)
        for method, (colour, marker) in ((each, _style(each, methods)) for each in methods)
    ]
    figure.legend(handles=handles, loc="outside upper left", frameon=False,
                  ncols=min(3, len(handles)), handletextpad=0.2, columnspacing=1.5)  # fmt: skip
    _lighten(axes)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _begin(width: float, height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _begin_two(
    width: float, height: float, heights: tuple[float, float]
) -> "tuple[Figure, tuple[Axes, Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=heights)
    return figure, (upper, lower)


def _lighten(axes: "Axes") -> None:
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(length=0, colors=INK)
