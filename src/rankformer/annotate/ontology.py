"""Labels as terms of the Cell Ontology, where they are common names of one."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rankformer.annotate.reference import UNKNOWN
from rankformer.results.cell_labels import CellLabels

_TERMS = Path(__file__).parent / "cell_ontology" / "terms.tsv"


@dataclass(frozen=True)
class Term:
    """A cell type of the Cell Ontology."""

    term_id: str
    name: str


def terms_of(labels: Sequence[str]) -> dict[str, Term]:
    """Label → term, of labels that are the name of a cell type, or a common synonym of one.

    Case, plural, hyphens, underscores and a trailing "cell" do not matter. A label of one letter,
    such as ``"B"``, may be a mere sign: it has a term only where longer ones have some, too.

    Parameters
    ----------
    labels
        Such as ``"CD14+ Monocytes"``.
    """
    known = _read_terms()
    found = {label: known.get(_plain(label)) for label in labels}
    is_about_cells = any(found[label] is not None and len(label) > 1 for label in labels)
    return {
        label: term for label, term in found.items()
        if term is not None and (is_about_cells or len(label) > 1)
    }  # fmt: skip


def with_terms(labels: CellLabels, classes: Sequence[str]) -> CellLabels:
    """Labels with the ids of their terms, as CELLxGENE has them; as they are where none has one.

    The column ``ontology_term_id`` is None where a label has no term, and ``"unknown"`` where a
    cell is unknown.

    Parameters
    ----------
    labels
        Of cells.
    classes
        The labels that there are.
    """
    terms = terms_of(classes)
    if not terms:
        return labels
    ids = {label: term.term_id for label, term in terms.items()} | {UNKNOWN: UNKNOWN}
    values = np.asarray(labels.values)  # of CellLabels
    column = np.array([ids.get(each) for each in values], dtype=object)
    told = {
        "label": list(terms), "term_id": [each.term_id for each in terms.values()],
        "name": [each.name for each in terms.values()],
        "without_term": [each for each in classes if each not in terms],
    }  # fmt: skip
    return replace(
        labels, further={**labels.further, "ontology_term_id": column},
        provenance={**labels.provenance, "ontology": told},
    )  # fmt: skip


def term_line(provenance: Mapping[str, Any]) -> str:
    """How many labels are terms of the Cell Ontology, and which are none; empty if none is."""
    told = provenance.get("ontology")
    if not told:
        return ""
    others = told["without_term"]
    n_labels = len(told["label"]) + len(others)
    rest = f" Without one: {', '.join(others)}." if others else ""
    return (
        f"Terms of the Cell Ontology were found for {len(told['label'])} of {n_labels} labels."
        f"{rest}\n"
    )


def _read_terms() -> dict[str, Term]:
    with _TERMS.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened, delimiter="\t"))
    known = {}
    for row in rows:
        term = Term(row["term_id"], row["name"])
        for name in (row["name"], *filter(None, row["synonyms"].split(";"))):
            known[_plain(name)] = term
    return known


def _plain(label: str) -> str:
    """A label without what is written in one way or another."""
    words = re.sub(r"[\s_\-]+", " ", label.lower()).strip().split(" ")
    words = [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in words]
    if len(words) > 1 and words[-1] == "cell":
        words = words[:-1]
    return " ".join(words)
