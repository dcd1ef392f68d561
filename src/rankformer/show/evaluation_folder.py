"""An evaluation as a folder: JSON, CSV and pictures. Whole under its name, or not there."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rankformer.evaluate.embedding_report import EmbeddingEvaluation
from rankformer.finetuning.classifier_report import MAJORITY, ClassifierEvaluation
from rankformer.results.csv_tables import write_csv
from rankformer.scratch import whole_or_nothing
from rankformer.show.canvas import new_axes, write_figure
from rankformer.show.confusion_plot import confusion_size, draw_confusion
from rankformer.show.evaluation_plots import (
    draw_classifiers,
    draw_embeddings,
    draw_reliability,
    draw_roc,
)

_LONGEST_NAME = 60


def write_embeddings(
    folder: Path, evaluation: EmbeddingEvaluation, *, overwrite: bool = False
) -> None:
    """Write ``figures.json``, ``figures.csv``, ``per_class.csv`` and pictures.

    Pictures: ``comparison.png``, and the linear probe's ``confusion-METHOD.png`` of each method.

    Raises
    ------
    OutputError
        If the folder cannot be written, or is there and not to be replaced.
    """
    summary = evaluation.summary()
    figures = {
        method: table.droplevel("method").to_dict(orient="index")
        for method, table in summary.groupby(level="method", sort=False)
    }
    with whole_or_nothing(folder, overwrite=overwrite) as part:
        part.mkdir()
        _write_json(part / "figures.json", figures, evaluation)
        write_csv(evaluation.scores, part / "figures.csv")
        write_csv(evaluation.per_class, part / "per_class.csv")
        write_figure(draw_embeddings(evaluation), part / "comparison.png")
        for name, (method, table) in _file_names(evaluation.confusion):
            _save_confusion(table, f"{method}, linear probe", part / f"confusion-{name}.png")


def write_classifier(
    folder: Path, evaluation: ClassifierEvaluation, *, overwrite: bool = False
) -> None:
    """Write ``figures.json``, CSV files and pictures.

    CSV: ``figures``, ``per_class``, ``confusion``, ``reliability`` and ``roc``, each with the
    method in a column. Pictures: ``comparison``, ``confusion-METHOD``, and where there are
    probabilities ``reliability`` and, for two classes, ``roc``.

    Raises
    ------
    OutputError
        If the folder cannot be written, or is there and not to be replaced.
    """
    with whole_or_nothing(folder, overwrite=overwrite) as part:
        part.mkdir()
        _write_json(part / "figures.json", evaluation.figures.to_dict(), evaluation)
        for name, table in _tables(evaluation).items():
            write_csv(table, part / f"{name}.csv")
        write_figure(draw_classifiers(evaluation), part / "comparison.png")
        for name, (method, table) in _file_names(evaluation.confusion):
            _save_confusion(table, method, part / f"confusion-{name}.png")
        _draw_curves(part, evaluation)


def _draw_curves(part: Path, evaluation: ClassifierEvaluation) -> None:
    methods = list(evaluation.figures.columns)
    figures = evaluation.figures
    reliability = _without_guess(evaluation.reliability)
    if reliability:
        errors = _row(figures, "calibration_error")
        write_figure(draw_reliability(reliability, errors, methods), part / "reliability.png")
    roc = _without_guess(evaluation.roc)
    if roc:
        areas = _row(figures, "roc_auc")
        write_figure(draw_roc(roc, areas, methods, evaluation.classes[1]), part / "roc.png")


def _tables(evaluation: ClassifierEvaluation) -> dict[str, pd.DataFrame]:
    figures = evaluation.figures.rename_axis("figure").reset_index()
    tidy = {
        "figures": figures.melt("figure", var_name="method", value_name="value").dropna(),
        "per_class": evaluation.per_class,
        "confusion": _join({name: _count_pairs(table)
                            for name, table in evaluation.confusion.items()}),
        "reliability": _join(evaluation.reliability),
        "roc": _join(evaluation.roc),
    }  # fmt: skip
    return {name: table for name, table in tidy.items() if len(table)}


def _count_pairs(table: pd.DataFrame) -> pd.DataFrame:
    return table.reset_index().melt("true", value_name="n_cells")


def _row(figures: pd.DataFrame, figure: str) -> dict[str, float]:
    return dict(zip(figures.columns, figures.loc[figure].to_numpy(), strict=True))


def _join(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    named = [table.assign(method=method) for method, table in tables.items()]
    return pd.concat(named, ignore_index=True) if named else pd.DataFrame()


def _without_guess(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """A constant guess has one point, which is no curve."""
    return {name: table for name, table in tables.items() if name != MAJORITY}


def _file_names(
    tables: Mapping[str, pd.DataFrame],
) -> Iterator[tuple[str, tuple[str, pd.DataFrame]]]:
    """A free file name for each method but the constant guess, whose confusion tells nothing."""
    taken: set[str] = set()
    for method, table in _without_guess(tables).items():
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", method).strip("-.")[:_LONGEST_NAME] or "method"
        name = plain
        for number in range(2, len(tables) + 2):
            if name.casefold() not in taken:
                break
            name = f"{plain}-{number}"
        taken.add(name.casefold())
        yield name, (method, table)


def _write_json(
    file: Path,
    figures: Mapping[Any, Any],
    evaluation: EmbeddingEvaluation | ClassifierEvaluation,
) -> None:
    document = {
        "figures": figures,
        "n_cells": evaluation.n_cells,
        "left_out": dict(evaluation.left_out),
        "notes": list(evaluation.notes),
        "settings": dict(evaluation.settings),
    }
    text = json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Values that JSON has; what is not a number is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    return value


def _save_confusion(table: pd.DataFrame, title: str, file: Path) -> None:
    axes = new_axes(confusion_size(table))
    draw_confusion(axes, table, title)
    write_figure(axes.figure.figure, file)
