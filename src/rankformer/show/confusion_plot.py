"""Confusion of labels: what cells are, by what they were called."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from rankformer.errors import SettingsError, TableError, expect_type
from rankformer.show.canvas import (
    SMALL,
    Panel,
    add_colour_bar,
    entitle,
    literal,
    plain,
)
from rankformer.show.cell_values import Categories, require_categories
from rankformer.show.palette import GRID, INK, SHARES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NO_LABEL = "no label"
# Inches.
_LEAST_CELL, _GRID_SIZE, _LARGEST_CELL, _LEAST_BAR = 0.22, 2.0, 0.5, 1.25
_MOST_NUMBERED, _MANY = 40, 16


def confusion_of(
    cells: AnnData | pd.DataFrame, true: str | None, predicted: str | None
) -> pd.DataFrame:
    """Cells by true label, in rows, and by predicted one, in columns.

    Parameters
    ----------
    cells
        Cells with both columns in obs, such a table by itself, or, without names of columns, a
        table that is counted already.
    true, predicted
        The columns. Cells without a true label are left out; those without a predicted one have a
        column of their own.

    Raises
    ------
    SettingsError, TableError
        If a column is missing, or a table holds no counts.
    """
    expect_type(
        cells, (AnnData, pd.DataFrame), "The labels", "AnnData, or a table.",
        "Pass one of these; a file is read first: anndata.read_h5ad(path).",
    )  # fmt: skip
    if (true is None) != (predicted is None):
        raise SettingsError(
            "Only one of true and predicted is given.",
            "The names of two columns of obs.",
            "Name both.",
        )
    if true is not None and predicted is not None:
        obs = cells.obs if isinstance(cells, AnnData) else cells
        return _count(require_categories(obs, true, "true"),
                      require_categories(obs, predicted, "predicted"))  # fmt: skip
    if isinstance(cells, AnnData):
        raise SettingsError(
            "Cells are given without the names of their labels.",
            "The columns of obs with the true and the predicted labels.",
            'Name them: true="cell_type", predicted="predicted_cell_type".',
        )
    numeric = all(pd.api.types.is_numeric_dtype(each) for each in cells.dtypes)
    if not len(cells.columns) or not len(cells) or not numeric:
        raise TableError(
            "The table does not hold numbers alone.",
            "Numbers of cells, true labels in rows and predicted ones in columns.",
            "Pass such a table, as evaluate_classifier(...).confusion holds them; or name the "
            "columns of labels (true, predicted).",
        )
    return cells


def confusion_size(table: pd.DataFrame) -> Panel:
    """Axes in which each cell has room for its number."""
    cell = max(min(_GRID_SIZE / max(table.shape), _LARGEST_CELL), _LEAST_CELL)
    return Panel(cell * table.shape[1], cell * table.shape[0])


def draw_confusion(ax: "Axes", table: pd.DataFrame, title: str | None = None) -> None:
    """Shares of each true label by predicted label; numbers where there is room for them."""
    counts = table.to_numpy(dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(shares, cmap=SHARES, vmin=0, vmax=1, aspect="equal")
    plain(ax)
    ax.set_xticks(range(table.shape[1]), [literal(each) for each in table.columns], rotation=90)
    rows = zip(table.index, counts.sum(axis=1), strict=True)
    ax.set_yticks(range(table.shape[0]), [f"{literal(name)} ({n:,.0f})" for name, n in rows])
    ax.set(xlabel="predicted", ylabel="true (cells)")
    entitle(ax, title)
    ax.tick_params(length=0)
    _rule_cells(ax, table.shape)
    if max(table.shape) <= _MOST_NUMBERED:
        _write_shares(ax, shares, least=0.05 if max(table.shape) > _MANY else 0.005)
    cell = confusion_size(table)
    # As high as its own name at least, however few rows there are.
    share = max(1, _LEAST_BAR / (cell.height or 1))
    box = (1 + 0.08 / cell.width, 1 - share, 0.1 / cell.width, share)
    bar = add_colour_bar(ax, image, "share of the true label", box=box)
    bar.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])


def _count(true: Categories, predicted: Categories) -> pd.DataFrame:
    own = true.names if set(true.names) & set(predicted.names) else []
    names = [*own, *(each for each in predicted.names if each not in own)]
    place = np.array([names.index(each) for each in predicted.names])
    known = true.codes >= 0
    column = np.where(predicted.codes >= 0, place[predicted.codes], len(names))[known]
    counts = np.zeros((len(true.names), len(names) + 1), np.int64)
    np.add.at(counts, (true.codes[known], column), 1)
    if not counts[:, -1].any():
        counts = counts[:, :-1]
    columns = [*names, NO_LABEL][: counts.shape[1]]
    return pd.DataFrame(counts, index=true.names, columns=columns)


def _rule_cells(ax: "Axes", shape: tuple[int, int]) -> None:
    ax.spines[:].set_visible(False)
    ax.set_xticks(np.arange(shape[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(shape[0] + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=GRID, linewidth=0.6)
    ax.tick_params(which="minor", length=0)


def _write_shares(ax: "Axes", shares: NDArray[np.float64], *, least: float) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= least:
            colour = "white" if share > 0.55 else INK
            ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour,
                    fontsize=SMALL)  # fmt: skip
