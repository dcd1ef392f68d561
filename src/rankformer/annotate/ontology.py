"""Labels as terms of the Cell Ontology, where they are common names of one."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.reference import UNKNOWN
from rankformer.results.cell_labels import CellLabels

# Of held-out cells that get a label, the share that must be of its term.
_LEAST_BORNE_OUT = 0.8
_TERMS = Path(__file__).parent / "cell_ontology" / "terms.tsv"


@dataclass(frozen=True)
class Term:
    """A cell type of the Cell Ontology.

    Attributes
    ----------
    term_id, name
        As the ontology has them.
    broader
        The id of a broader cell type that is known here, or "".
    """

    term_id: str
    name: str
    broader: str = ""


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


def held_out_terms(
    terms: Mapping[str, Term], classes: Sequence[str], calls: NDArray[np.int64]
) -> dict[str, Term]:
    """Label → the narrowest term, its own or a broader one, that held-out cells bear out.

    Of the cells of the reference that were held out and given a label, at least four in five must
    be of the term. Labels of which no term is borne out are left out.

    Parameters
    ----------
    terms
        Label → the term that its name means.
    classes
        All labels.
    calls
        (n_classes, n_classes): how many held-out cells that were given a label, in rows, have which
        label in truth, in columns.
    """
    known = {each.term_id: each for each in _read_terms().values()}
    lines = {label: _line_of(term, known) for label, term in terms.items()}
    found = {}
    for label, own in zip(classes, calls, strict=True):
        for term in lines.get(label, ()):
            is_of_term = [each == label or term in lines.get(each, ()) for each in classes]
            if own[is_of_term].sum() >= max(1, _LEAST_BORNE_OUT * own.sum()):
                found[label] = term
                break
    return found


def _line_of(term: Term, known: Mapping[str, Term]) -> list[Term]:
    """A term and the broader ones, the narrowest first."""
    line = [term]
    while line[-1].broader:
        line.append(known[line[-1].broader])
    return line


def with_terms(
    labels: CellLabels, classes: Sequence[str], calls: NDArray[np.int64] | None = None
) -> CellLabels:
    """Labels with the ids of their terms, as CELLxGENE has them; as they are where none has one.

    The column ``ontology_term_id`` is None where a label has no term, and ``"unknown"`` where a
    cell is unknown.

    Parameters
    ----------
    labels
        Of cells.
    classes
        The labels that there are.
    calls
        See `held_out_terms`; None where no cells were held out: then names alone decide.
    """
    meant = terms_of(classes)
    if not meant:
        return labels
    terms = meant if calls is None else held_out_terms(meant, classes, calls)
    ids = {label: term.term_id for label, term in terms.items()} | {UNKNOWN: UNKNOWN}
    values = np.asarray(labels.values)  # of CellLabels
    column = np.array([ids.get(each) for each in values], dtype=object)
    told = {
        "label": list(terms), "term_id": [each.term_id for each in terms.values()],
        "name": [each.name for each in terms.values()],
        "name_of_label": [meant[label].name for label in terms],
        "not_borne_out": [label for label in meant if label not in terms],
        "without_term": [each for each in classes if each not in meant],
    }  # fmt: skip
    return replace(
        labels, further={**labels.further, "ontology_term_id": column},
        provenance={**labels.provenance, "ontology": told},
    )  # fmt: skip


def term_line(provenance: Mapping[str, Any]) -> str:
    """Which labels are terms of the Cell Ontology, which get a broader one; empty if none is."""
    told = provenance.get("ontology")
    if not told:
        return ""
    others, unsure = told["without_term"], told["not_borne_out"]
    n_labels = len(told["label"]) + len(unsure) + len(others)
    broader = [
        f"{label} ({name})"
        for label, name, own in zip(
            told["label"], told["name"], told["name_of_label"], strict=True
        )
        if name != own
    ]  # fmt: skip
    rest = f" Without one: {', '.join(others)}." if others else ""
    if broader:
        rest += (
            " Broader terms than their names mean, as held-out cells of the reference were too "
            f"often confused, are given to {', '.join(broader)}."
        )
    if unsure:
        rest += (
            f" None is given to {', '.join(unsure)}: of the held-out cells that were given these "
            "labels too few were of their terms, or there were none."
        )
    return (
        f"Terms of the Cell Ontology were found for {len(told['label'])} of {n_labels} labels."
        f"{rest}\n"
    )


def _read_terms() -> dict[str, Term]:
    with _TERMS.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened, delimiter="\t"))
    known = {}
    for row in rows:
        term = Term(row["term_id"], row["name"], row["broader"])
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
