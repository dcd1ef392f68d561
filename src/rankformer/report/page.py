"""The page itself: text, tables and code in one file."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pandas as pd

from rankformer.report import effects as volcano
from rankformer.report.agreement import Agreement, Evaluated
from rankformer.report.cautions import Caution
from rankformer.report.count_figures import CountFigures
from rankformer.report.effects import Effects
from rankformer.report.gather import ReportCells
from rankformer.report.payload import Payload
from rankformer.report.run_facts import RunFacts
from rankformer.report.settings import ReportSettings
from rankformer.report.shown_genes import ShownGenes
from rankformer.results.metric_names import EMBEDDING_FIGURES, in_order

if TYPE_CHECKING:
    from markupsafe import Markup

_FOLDER = "rankformer.report.page_files"
_MOST_ROWS, _MOST_COLUMNS = 60, 40
_GENE_FIGURES = frozenset(
    ("n_vars", "n_genes", "n_mapped", "fates", "rules", "column", "vocabulary")
)


@dataclass(frozen=True, eq=False)
class Page:
    """All that a page shows."""

    title: str
    cells: ReportCells
    settings: ReportSettings
    figures: CountFigures
    cautions: Sequence[Caution]
    agreements: Sequence[Agreement]
    evaluated: Evaluated
    effects: Effects | None
    payload: Payload
    no_expression: str
    columns_left_out: Sequence[str]
    genes: ShownGenes
    facts: RunFacts


def render_page(page: Page) -> str:
    """Fill the template: whatever stands in the file stays text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _as_number
    environment.filters["prose"] = _as_prose
    template = environment.from_string(_read("report.html.jinja"))
    script = _read("report.js")
    return template.render(
        page=page,
        sources=_sources(page.cells.embedded.provenance),
        evaluation=_tell_evaluation(page),
        tables=[_tell_agreement(each) for each in page.agreements],
        volcano=volcano,
        script=_as_markup(script),
        script_hash=_hash(script),
        style=_as_markup(_read("report.css")),
        description=_as_markup(_as_json(page.payload.description)),
        blobs=_as_markup(page.payload.blobs),
    )


def _read(name: str) -> str:
    return (files(_FOLDER) / name).read_text("utf-8")


def _as_markup(text: str) -> "Markup":
    """Text that is ours, or encoded so that it holds no markup."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704


def _as_json(value: Any) -> str:
    """JSON that may stand within a script element, whatever texts it holds."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(script: str) -> str:
    """As a content security policy names the one script that may run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return base64.b64encode(digest).decode("ascii")


def _as_number(value: float, digits: int = 2) -> str:
    if pd.isna(value):
        return "-"
    if float(value).is_integer() and abs(value) >= 1:
        return f"{value:,.0f}"
    if value and (abs(value) < 10**-digits or abs(value) >= 1e5):
        return f"{value:.1e}"
    return f"{value:,.{digits}f}"


def _as_prose(text: str) -> "Markup":
    """A sentence of ours, in which commands stand between backticks."""
    from markupsafe import escape

    return _as_markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _sources(provenance: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The gene mapping of each input that was embedded, with shares to draw."""
    told = []
    for each in (provenance or {}).get("sources", {}).values():
        genes = each.get("genes")
        if isinstance(genes, Mapping) and genes.keys() >= _GENE_FIGURES:
            n_vars = max(int(genes["n_vars"]), 1)
            fates = [(name, n, n / n_vars) for name, n in genes["fates"].items() if n]
            told.append({**each, "genes": genes, "fates": fates})
    return told


def _tell_evaluation(page: Page) -> dict[str, Any] | None:
    evaluation = page.evaluated.evaluation
    if evaluation is None:
        return None
    summary = evaluation.summary().reset_index()
    means = summary.pivot_table(index="figure", columns="method", values="mean", sort=False)
    methods = list(dict.fromkeys(evaluation.scores["method"]))
    figures = in_order(means.index, EMBEDDING_FIGURES)
    per_class = evaluation.per_class[evaluation.per_class["probe"] == "knn"]
    by_class = per_class.pivot_table(index="class", columns="method", values="f1", sort=False)
    n_cells = per_class.drop_duplicates("class").set_index("class")["n_cells"]
    return {
        "methods": methods,
        "rows": [
            {
                "name": EMBEDDING_FIGURES[figure],
                "scores": [means[each].get(figure) for each in methods],
                "best": means.loc[figure].max(),
            }
            for figure in figures
        ],
        "classes": [
            {"name": name, "n": n, "scores": [by_class[each].get(name) for each in methods]}
            for name, n in zip(n_cells.index, n_cells.astype(int), strict=True)
        ],
        "notes": evaluation.notes,
        "n_cells": evaluation.n_cells,
        "left_out": evaluation.left_out,
    }


def _tell_agreement(agreement: Agreement) -> dict[str, Any]:
    """Rows with the share of each label's cells in each cluster."""
    table = agreement.table
    shown = table.iloc[:_MOST_ROWS, :_MOST_COLUMNS]
    totals = table.sum(axis=1)
    return {
        "label": agreement.label,
        "ari": agreement.ari,
        "nmi": agreement.nmi,
        "clusters": list(shown.columns),
        "rows": [
            {
                "name": name,
                "n": int(totals[name]),
                "cells": [(int(n), n / totals[name]) for n in row],
            }
            for name, row in zip(shown.index, shown.to_numpy(), strict=True)
        ],
        "n_left_out": table.shape[0] - shown.shape[0] + table.shape[1] - shown.shape[1],
    }
