"""What was named, in tables: labels with their counts and doubts, and how the ways did."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Any

import numpy as np

from rankformer.annotate.markers import rows_of
from rankformer.annotate.ontology import term_line
from rankformer.annotate.vote import DIVIDED, FAR, STRANGE
from rankformer.annotate.ways import IN_WORDS
from rankformer.printable import printable
from rankformer.results.cell_labels import CellLabels

_MOST_LABELS = 25
_WIDTH, _LEAST_WIDTH, _INDENT, _BETWEEN = 80, 16, "  ", "  "
_DOUBTED = ("called_unknown", "divided", "unlike", "far")
_COLUMNS = ("label", "cells", "mean probability", "called unknown", "divided", "unlike", "far")


def label_rows(labels: CellLabels) -> list[dict[str, Any]]:
    """A row for each label that some cell resembles most, the most frequent first.

    Returns
    -------
    ``label``; ``cells`` that have it; ``mean_probability`` of these; ``called_unknown``: cells that
    resemble it most, and were not given it; of these ``divided``: another label is nearly as
    likely; ``unlike``: their doubt is beyond the limit; and ``far``: they lie far from the
    reference.
    """
    best = labels.further["best"]
    why = labels.further["why"]
    rows = []
    for name in sorted({each for each in best if each is not None}):
        own = best == name
        named = own & (labels.values == name)
        doubted = own & ~named
        reasons = [str(each) for each in why[doubted]]
        probability = labels.probability
        assert probability is not None  # noqa: S101
        rows.append({
            "label": str(name),
            "cells": int(named.sum()),
            "mean_probability": float(probability[named].mean()) if named.any() else None,
            "called_unknown": int(doubted.sum()),
            "divided": sum(DIVIDED in each for each in reasons),
            "unlike": sum(STRANGE in each for each in reasons),
            "far": sum(FAR in each for each in reasons),
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["cells"])


def told_of(labels: Mapping[str, CellLabels]) -> tuple[str, ...]:
    """Texts for a terminal: how the ways did, and the labels, for each name of a result."""
    return tuple(
        f"{way_table(key, each.provenance)}\n{shift_line(each.provenance)}"
        f"{limit_line(each.provenance)}\n{term_line(each.provenance)}{_label_table(each)}"
        f"{_marker_table(each.provenance)}"
        for key, each in labels.items()
    )


def _marker_table(provenance: Mapping[str, Any]) -> str:
    """How well marker genes of the reference tell the cells that were given each label."""
    if not provenance["markers"]:
        return ""
    rows = [
        (each["label"], f"{each['cells']:,}", _number(each["auroc_in_reference"]),
         _number(each["auroc_in_query"]), ", ".join(each["marker_genes"].split(", ")[:4]))
        for each in rows_of(provenance["markers"])[:_MOST_LABELS]
    ]  # fmt: skip
    if not rows:
        return ""
    columns = ("label", "cells", "in the reference", "here", "marker genes")
    return (
        "\nHow well marker genes tell cells of a label from others, as AUROC (0.5 is chance):\n"
        f"{lines_of(columns, rows)}"
    )


def _label_table(labels: CellLabels) -> str:
    found = label_rows(labels)
    rows: list[tuple[str, ...]] = [
        (each["label"], f"{each['cells']:,}", _number(each["mean_probability"]),
         *(f"{each[name]:,}" for name in _DOUBTED))
        for each in found[:_MOST_LABELS]
    ]  # fmt: skip
    if len(found) > _MOST_LABELS:
        rest = found[_MOST_LABELS:]
        sums = [f"{sum(each[name] for each in rest):,}" for name in ("cells", *_DOUBTED)]
        rows.append((f"{len(rest):,} other labels", sums[0], "", *sums[1:]))
    n_unknown = sum(each["called_unknown"] for each in found)
    rows.append(("unknown", f"{n_unknown:,}", "", "", "", "", ""))
    n_without = int(np.sum([each is None for each in labels.values]))
    if n_without:
        rows.append(("no label", f"{n_without:,}", "", "", "", "", ""))
    return f"Cells by the label that they resemble most:\n{lines_of(_COLUMNS, rows)}"


def way_table(key: str, provenance: Mapping[str, Any]) -> str:
    """How the ways did on the reference, and which was taken; a sentence where none was tried."""
    weighed = provenance["method"]
    if not weighed["tried"]:
        return f"{key}: {weighed['why']}."
    rows = [
        (each["in_words"], _number(each["macro_f1"]), _number(each["accuracy"]),
         "taken" if way == weighed["way"] else "")
        for way, each in weighed["tried"].items()
    ]  # fmt: skip
    columns = ("way of naming cells", "macro-F1", "accuracy", "")
    return f"{key}: {weighed['why']}.\n{lines_of(columns, rows)}"


def shift_line(provenance: Mapping[str, Any]) -> str:
    """Whether cells were named less their shift, and by which evidence; empty if none is known."""
    shift = provenance["shift_of_query"]
    if not shift:
        return ""
    by = IN_WORDS[shift["by"]]
    what = "with their shift as a whole removed" if shift["taken_away"] else "as they are"
    return (
        f"The cells were named {what}: the ways of naming agree on "
        f"{100 * shift['agreement_with']:.0f} % of the cells where it is removed, and on "
        f"{100 * shift['agreement_without']:.0f} % as they are. "
        f"It was found by the labels of the {by}.\n"
    )


def limit_line(provenance: Mapping[str, Any]) -> str:
    """By which limit cells are unknown, and what it does on the reference."""
    found, max_doubt = provenance["unknown"], provenance.get("max_doubt")
    if max_doubt is None:
        rule = f"below a probability of {provenance['vote']['min_share']:.2f}"
    else:
        rule = f"beyond a doubt of {max_doubt:.2f}"
    if not found:
        return f"A cell is unknown {rule}, which was not calibrated."
    return (
        f"A cell is unknown {rule}: of cells of labels that were left out, "
        f"{100 * found['left_out_classes_found']:.0f} % are then unknown "
        f"({100 * found['found_with_0.5']:.0f} % where a probability below 0.50 is), and of "
        f"rightly named cells {100 * found['rightly_named_kept']:.0f} % keep their name."
    )


def lines_of(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as lines of a terminal: the first column to the left, the others to the right.

    Headings are broken between words; where a line has no room, the first column is too, and then
    the last. Names are made fit to show before that: what breaks a line would be taken for a space.
    """
    rows = [list(map(printable, row)) for row in rows]
    widths = [
        max(map(len, (*heading.split(), *column, "")))
        for heading, column in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    for place in (0, -1):
        beyond = len(_INDENT) + sum(widths) + len(_BETWEEN) * (len(widths) - 1) - _WIDTH
        if beyond > 0:
            widths[place] = max(widths[place] - beyond, min(widths[place], _LEAST_WIDTH))
    return "\n".join(line for row in (columns, *rows) for line in _lines_of_row(row, widths))


def _lines_of_row(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    broken = [wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    for first, *others in zip_longest(*broken, fillvalue=""):
        cells = [f"{first:<{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield f"{_INDENT}{_BETWEEN.join(cells)}".rstrip()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
