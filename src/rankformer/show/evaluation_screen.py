"""An evaluation on a terminal: a row a figure, a column a method."""

import math
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rankformer.evaluate.embedding_report import EmbeddingEvaluation
from rankformer.finetuning.classifier_report import ClassifierEvaluation
from rankformer.results.metric_names import CLASSIFIER_FIGURES, EMBEDDING_FIGURES, in_order
from rankformer.show.screen import Screen

_MOST_CLASSES = 30
_SMALLEST_SPREAD = 0.0005


def embedding_tables(
    evaluation: EmbeddingEvaluation,
) -> tuple[dict[str, Any], dict[str, list[dict[Any, Any]]]]:
    """Figures and tables of an evaluation of embeddings, as plain values."""
    summary = evaluation.summary().reset_index()
    tables = {
        "figures": summary.to_dict(orient="records"),
        "per_class": evaluation.per_class.to_dict(orient="records"),
    }
    return _counted(evaluation), tables


def classifier_tables(
    evaluation: ClassifierEvaluation,
) -> tuple[dict[str, Any], dict[str, list[dict[Any, Any]]]]:
    """Figures and tables of an evaluation of labels, as plain values."""
    figures = evaluation.figures.rename_axis("figure").reset_index()
    tidy = figures.melt("figure", var_name="method", value_name="value").dropna()
    tables = {
        "figures": tidy.to_dict(orient="records"),
        "per_class": evaluation.per_class.to_dict(orient="records"),
    }
    return _counted(evaluation), tables


def _counted(evaluation: EmbeddingEvaluation | ClassifierEvaluation) -> dict[str, Any]:
    return {
        "n_cells": evaluation.n_cells, "n_left_out": dict(evaluation.left_out),
        "notes": evaluation.notes,
    }  # fmt: skip


def render_embeddings(evaluation: EmbeddingEvaluation, console: Console | None = None) -> None:
    """Print the mean of each figure, its spread over seeds, interval, and the lowest fold."""
    console = console or Screen()
    summary = evaluation.summary()
    methods = list(evaluation.scores["method"].unique())
    table = _table(f"{evaluation.n_cells:,} cells, {len(evaluation.settings['classes'])} labels",
                   methods)  # fmt: skip
    for figure in in_order(evaluation.scores["figure"], EMBEDDING_FIGURES):
        rows = {method: summary.loc[(method, figure)] for method in methods
                if (method, figure) in summary.index}  # fmt: skip
        cells = [_show(*rows[each][["mean", "spread"]]) if each in rows else "" for each in methods]
        table.add_row(EMBEDDING_FIGURES[figure], *cells)
        if any(pd.notna(each["low"]) for each in rows.values()):
            bounds = [_show_interval(rows[each]) if each in rows else "" for each in methods]
            table.add_row("  95 % interval", *bounds, style="dim")
        if any(pd.notna(each["lowest_fold"]) for each in rows.values()):
            lowest = [_show(rows[each]["lowest_fold"]) if each in rows else "" for each in methods]
            table.add_row("  lowest fold", *lowest, style="dim")
    console.print(table)
    _print_notes(evaluation.notes, console)


def render_classifier(evaluation: ClassifierEvaluation, console: Console | None = None) -> None:
    """Print figures and the table of classes of the first method."""
    console = console or Screen()
    figures = evaluation.figures
    title = f"{evaluation.n_cells:,} cells, {len(evaluation.classes)} labels"
    table = _table(title, list(figures.columns))
    for figure in in_order(figures.index, CLASSIFIER_FIGURES):
        table.add_row(CLASSIFIER_FIGURES[figure], *map(_show, figures.loc[figure].to_numpy()))
    console.print(table)
    console.print()
    _print_classes(evaluation, console)
    _print_notes(evaluation.notes, console)


def _print_classes(evaluation: ClassifierEvaluation, console: Console) -> None:
    method = evaluation.figures.columns[0]
    rows = evaluation.per_class[evaluation.per_class["method"] == method]
    table = _table(method, ["precision", "recall", "F1", "cells"])
    for _, row in rows.head(_MOST_CLASSES).iterrows():
        scores = (_show(row[each]) for each in ("precision", "recall", "f1"))
        table.add_row(escape(row["class"]), *scores, f"{row['n_cells']:,}")
    console.print(table)
    if len(rows) > _MOST_CLASSES:
        console.print(f"and {len(rows) - _MOST_CLASSES} more, in per_class.csv", style="dim")


def _table(title: str, columns: list[str]) -> Table:
    table = Table(
        title=escape(title), title_justify="left", header_style="bold", box=None, pad_edge=False,
        padding=(0, 2, 0, 0),
    )  # fmt: skip
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(escape(column), justify="right", overflow="fold")
    return table


def _show_interval(row: "pd.Series[float]") -> str:
    return f"{row['low']:.3f} to {row['high']:.3f}"


def _show(mean: float, spread: float = math.nan) -> str:
    if math.isnan(mean):
        return "-"
    if math.isnan(spread) or spread < _SMALLEST_SPREAD:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {spread:.3f}"


def _print_notes(notes: tuple[str, ...], console: Console) -> None:
    console.print()
    for note in notes:
        console.print(escape(note), style="dim")
