"""Pictures of tested perturbations."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from rankformer.errors import SettingsError, TableError, expect_type
from rankformer.names import as_names
from rankformer.show.canvas import (
    ONE_COLUMN,
    SMALL,
    lay_out,
    literal,
    new_axes,
    plain,
    save_figure,
    text_widths,
)
from rankformer.show.cell_values import did_you_mean
from rankformer.show.label_layout import spread, uncross
from rankformer.show.palette import DOWN, FAINT, INK, UNSURE, UP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VOLCANO_SIZE = (ONE_COLUMN, 3.1)
# Shares of the axes' width: for lines from names to dots, without names, and most for names.
_LINES, _EDGE, _MOST_NAMES = 0.07, 0.05, 0.38
_LINE_HEIGHT = 1.15
_NEEDED = ("symbol", "effect")


def read_tested(tested: AnnData | pd.DataFrame, key: str) -> pd.DataFrame:
    """The table of tested perturbations, of AnnData that under a key of uns.

    Raises
    ------
    SettingsError
        If there is none.
    """
    expect_type(
        tested, (AnnData, pd.DataFrame), "The tested perturbations",
        "AnnData after rankformer.tl.perturb_test, or the table that it made.",
        "Pass one of these; a file is read first: pandas.read_csv(path).",
    )  # fmt: skip
    if isinstance(tested, pd.DataFrame):
        return tested
    if key not in tested.uns:
        raise SettingsError(
            f"uns has no table {key!r}{did_you_mean(key, [str(each) for each in tested.uns])}",
            "A table that rankformer.tl.perturb_test added.",
            "Run rankformer.tl.perturb_test first, or correct key.",
        )
    table: pd.DataFrame = tested.uns[key]
    return table


def check_tested(tested: pd.DataFrame, *needed: str) -> None:
    """Refuse a table that is not of tested perturbations.

    Raises
    ------
    TableError
        If a column is missing, or there is no row.
    """
    missing = [name for name in (*_NEEDED, *needed) if name not in tested]
    if missing:
        raise TableError(
            f"The table has no column {' or '.join(missing)}.",
            "A table that rankformer.tl.perturb_test or `rankformer perturb-test` made"
            + (", with a comparison that gives p values." if "q_value" in missing else "."),
            "Test the perturbations first; against like_rank, random or null, where certainty is "
            "drawn.",
        )
    if not len(tested):
        raise TableError("The table has no rows.", "Tested perturbations.", "Perturb some genes.")


def draw_volcano(
    ax: "Axes",
    tested: pd.DataFrame,
    *,
    level: float = 0.05,
    n_labels: int = 8,
    label: str | None = None,
) -> None:
    """Effect against certainty: each perturbation a dot.

    Parameters
    ----------
    ax
        Axes to draw in.
    tested
        From `compare_genes`, with ``q_value``.
    level
        The false discovery rate at which dots are coloured.
    n_labels
        How many are named on each side: those that are large and certain.
    label
        Of the effect.
    """
    check_tested(tested, "q_value")
    shown = tested.dropna(subset=["q_value"])
    x = shown[_column(shown)].to_numpy(float)
    q_values = shown["q_value"].to_numpy(float)
    least = q_values[q_values > 0].min(initial=1.0)
    y = -np.log10(np.maximum(q_values, least))
    called = q_values <= level
    for mask, colour in ((~called, FAINT), (called & (x > 0), UP), (called & (x <= 0), DOWN)):
        ax.scatter(x[mask], y[mask], s=7, c=colour, linewidths=0, alpha=0.8, rasterized=True)
    ax.axhline(-np.log10(level), color=INK, linewidth=0.6, linestyle=":")
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.set_xlabel(literal(label, 80) if label else _describe(shown))
    ax.set_ylabel("-log10 of the false discovery rate")
    plain(ax)
    width, gap = _room(ax)
    most = min(n_labels, int(1 / gap))
    best = [_best_of_side(x, y, called, side)[:most] for side in (-1, 1)]
    symbols = shown["symbol"].to_numpy()
    shares = [_share_of_names(symbols[own], width) for own in best]
    _set_limits(ax, x, y, [_EDGE if share == 0 else share + _LINES for share in shares])
    ax.locator_params(axis="x", nbins=5)
    if not called.any():
        nothing = f"no gene at a false discovery rate of {level:g}"
        ax.text(0.5, 0.97, nothing, color=INK, fontsize=SMALL, ha="center", va="top",
                transform=ax.transAxes)  # fmt: skip
        return
    names = np.array([literal(each, 16) for each in shown["symbol"]], dtype=object)
    for own, side, share in zip(best, (-1, 1), shares, strict=True):
        _name(ax, np.column_stack([x, y])[own], names[own], side, gap, share)


def write_volcano(tested: pd.DataFrame, path: Path, *, overwrite: bool = False) -> None:
    """Draw it into a file, which appears whole or not at all; its ending is the format."""
    axes = new_axes(VOLCANO_SIZE)
    draw_volcano(axes, tested)
    save_figure(axes.figure.figure, path, overwrite=overwrite)


def choose_effects(
    tested: pd.DataFrame, n_genes: int, genes: str | Sequence[str] | None
) -> pd.DataFrame:
    """The first rows of a table, or those of some genes, the greatest effect first.

    Raises
    ------
    SettingsError, TableError
        If the table is another one, or a gene is not in it.
    """
    check_tested(tested)
    column = _column(tested)
    if genes is None:
        if n_genes < 1:
            raise SettingsError(f"n_genes is {n_genes}.", "At least 1.", "Correct n_genes.")
        is_sorted = "q_value" in tested
        known = tested.dropna(subset=["q_value"]) if is_sorted else tested
        by = known if is_sorted else known.reindex(known[column].abs().sort_values(
            ascending=False, kind="stable").index)  # fmt: skip
        chosen = by.head(n_genes)
    else:
        chosen = _rows_of(tested, as_names(genes, "genes"))
    order = np.argsort(-chosen[column].to_numpy(float), kind="stable")
    return chosen.iloc[order]


def effects_size(chosen: pd.DataFrame) -> tuple[float, float]:
    """Width and height of a figure with a line for each gene."""
    return ONE_COLUMN, 0.75 + 0.155 * max(len(chosen), 3)


def draw_effects(
    ax: "Axes", chosen: pd.DataFrame, *, level: float = 0.05, label: str | None = None
) -> None:
    """Effects with their intervals, one below the other; open where they are not certain.

    Parameters
    ----------
    ax
        Axes to draw in.
    chosen
        From `choose_effects`.
    level
        The false discovery rate at which an effect counts as certain.
    label
        Of the effect.
    """
    x = chosen[_column(chosen)].to_numpy(float)
    rows = np.arange(len(chosen))
    certain = np.ones(len(chosen), bool)
    if "q_value" in chosen:
        certain = chosen["q_value"].to_numpy(float) <= level
    colours = np.where(certain, np.where(x > 0, UP, DOWN), UNSURE).tolist()
    if {"low", "high"} <= set(chosen.columns):
        ax.hlines(rows, chosen["low"], chosen["high"], colors=colours, linewidth=1.1)
    filled = np.where(certain, colours, "white").tolist()
    ax.scatter(x, rows, s=16, facecolors=filled, edgecolors=colours, linewidths=0.9, zorder=3)
    ax.axvline(0, color=INK, linewidth=0.6, zorder=0)
    ax.set_yticks(rows, _name_rows(chosen))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.margins(x=0.06)
    ax.set_xlabel(literal(label, 80) if label else _describe(chosen))
    plain(ax)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=5)
    if not certain.all():
        ax.annotate(f"open: false discovery rate above {level:g}", (1, 1), xytext=(0, 2),
                    xycoords="axes fraction", textcoords="offset points", fontsize=SMALL,
                    color=INK, ha="right", va="bottom")  # fmt: skip


def _column(tested: pd.DataFrame) -> str:
    return "excess" if "excess" in tested else "effect"


def _describe(tested: pd.DataFrame) -> str:
    return "effect beyond genes of like rank" if "excess" in tested else "mean effect"


def _name_rows(chosen: pd.DataFrame) -> list[str]:
    """Symbols, with the Ensembl id where two genes have the same, and the number of cells."""
    symbols = chosen["symbol"].astype(str)
    is_double = symbols.duplicated(keep=False) & ("ensembl_id" in chosen)
    names = [
        literal(f"{symbol} {gene}" if double else symbol, 28)
        for symbol, gene, double in zip(
            symbols, chosen.get("ensembl_id", symbols), is_double, strict=True
        )
    ]
    if "n_cells" not in chosen:
        return names
    return [f"{name} ({n:,})" for name, n in zip(names, chosen["n_cells"], strict=True)]


def _rows_of(tested: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    ids = tested["ensembl_id"] if "ensembl_id" in tested else tested["symbol"]
    known = {*tested["symbol"].astype(str), *ids.astype(str)}
    absent = [name for name in names if name not in known]
    if absent:
        raise SettingsError(
            f"The table has no gene {absent[0]!r}{did_you_mean(absent[0], sorted(known))}",
            f"Symbols or Ensembl ids of the {len(tested):,} genes that were tested.",
            "Correct genes.",
        )
    return tested[tested["symbol"].astype(str).isin(names) | ids.astype(str).isin(names)]


def _best_of_side(
    x: NDArray[np.float64], y: NDArray[np.float64], called: NDArray[np.bool_], side: int
) -> NDArray[np.int64]:
    own = np.flatnonzero(called & (np.sign(x) == side))
    return own[np.argsort(-np.abs(x[own]) * y[own], kind="stable")]


def _set_limits(
    ax: "Axes", x: NDArray[np.float64], y: NDArray[np.float64], room: Sequence[float]
) -> None:
    """Dots keep off the sides on which names stand."""
    left, right = room
    least, most = min(x.min(initial=0), 0), max(x.max(initial=0), 0)
    unit = ((most - least) or 1) / (1 - left - right)
    ax.set_xlim(least - left * unit, most + right * unit)
    ax.set_ylim(0, 1.06 * max(y.max(initial=0), 1))


def _room(ax: "Axes") -> tuple[float, float]:
    """Points of the axes' width, and the height of a line of text as a share of theirs."""
    points = 72 / lay_out(ax).dpi
    box = ax.get_window_extent()
    return float(box.width * points), float(_LINE_HEIGHT * SMALL / (box.height * points))


def _share_of_names(symbols: NDArray[Any], width: float) -> float:
    """The share of the axes' width that names take."""
    if not len(symbols):
        return 0.0
    longest = text_widths([literal(each, 16) for each in symbols]).max()
    return min(float(longest + 4) / width, _MOST_NAMES)


def _name(
    ax: "Axes", dots: NDArray[np.float64], names: Any, side: int, gap: float, share: float
) -> None:
    """Names in a column beside all dots, with lines to their dots that do not cross."""
    places = ax.transAxes.inverted().transform(ax.transData.transform(dots))
    order = np.argsort(places[:, 1], kind="stable")
    places, dots, names = places[order], dots[order], names[order]
    heights = spread(places[:, 1], gap)
    where = 0.5 + side * (0.5 - share)
    ends = np.column_stack([np.full(len(heights), where), heights])
    chosen = uncross(places, ends)
    for dot, name, end in zip(dots, names, ends[chosen], strict=True):
        ax.annotate(
            name, dot, xytext=end, textcoords=ax.transAxes,
            fontsize=SMALL, va="center", ha="left" if side > 0 else "right", color=INK,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": INK, "shrinkA": 1,
                        "shrinkB": 2, "relpos": (0 if side > 0 else 1, 0.5)},
        )  # fmt: skip
