"""Marker genes as a check of labels: do genes that tell a label in the reference do so here too?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import rankdata

from rankformer.cells.marker_genes import find_markers

N_MARKERS = 10
_LEAST_CELLS = 5
# Below it, the genes hardly tell the cells from the others.
LEAST_AUROC = 0.7


@dataclass(frozen=True)
class MarkerCheck:
    """Whether cells that were given a label show its marker genes.

    Attributes
    ----------
    label
        The label.
    genes
        At most ten genes that tell it from all others in the reference, the surest first.
    n_cells
        How many cells that were given it were looked at.
    in_reference, in_query
        How well the mean of these genes tells cells of the label from the others, as AUROC: 1 is
        without fault, 0.5 is chance. None where there are too few cells, or no genes.
    """

    label: str
    genes: tuple[str, ...]
    n_cells: int
    in_reference: float | None
    in_query: float | None

    @property
    def fails(self) -> bool:
        """Whether the genes tell the label in the reference, and not among the cells so named."""
        if self.in_reference is None or self.in_query is None:
            return False
        return self.in_query < LEAST_AUROC <= self.in_reference


def check_markers(
    learned: tuple[csr_matrix, NDArray[np.int32]],
    given: tuple[csr_matrix, NDArray[np.int32]],
    classes: Sequence[str],
    names: Sequence[str],
) -> list[MarkerCheck]:
    """Check each label that was given to some cell.

    Markers are those of `find_markers`: expressed higher in cells of the label than in all other
    labelled cells, by Welch's t statistic.

    Parameters
    ----------
    learned
        Labelled cells: (n_cells, n_genes) log-normalised, and the class of each.
    given
        Cells that were named: the same genes, and the class that each was given; -1 for unknown.
        These are neither of a label nor among the others.
    classes
        Their names.
    names
        Of the genes.
    """
    values, codes = learned
    found = find_markers(values, codes.astype(np.int64), N_MARKERS)
    others, said = given
    checks = []
    for code, label in enumerate(classes):
        own = found.genes[found.groups == code]
        n_cells = int((said == code).sum())
        if n_cells:
            checks.append(MarkerCheck(
                label, tuple(names[gene] for gene in own), n_cells,
                _auroc(values[:, own], codes, code), _auroc(others[:, own], said, code),
            ))  # fmt: skip
    return checks


def marker_lines(checks: Sequence[MarkerCheck]) -> list[str]:
    """A sentence for each label of whose marker genes the cells that were given it show little."""
    return [
        f"Cells named {each.label} hardly show its marker genes ({', '.join(each.genes[:5])}): "
        f"these tell {each.label} from other cells with an AUROC of {each.in_reference:.2f} in the "
        f"reference, and of {each.in_query:.2f} here. Look at these cells before you use the label."
        for each in checks
        if each.fails
    ]


def as_lists(checks: Sequence[MarkerCheck]) -> dict[str, Any]:
    """As provenance has them: a list for each column, of the labels that could be checked."""
    known = [each for each in checks if None not in (each.in_reference, each.in_query)]
    return {
        "label": [each.label for each in known], "cells": [each.n_cells for each in known],
        "marker_genes": [", ".join(each.genes) for each in known],
        "auroc_in_reference": [round(float(each.in_reference or 0), 4) for each in known],
        "auroc_in_query": [round(float(each.in_query or 0), 4) for each in known],
        "not_checked": [each.label for each in checks if each not in known],
    }  # fmt: skip


def rows_of(lists: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same as a row for each label."""
    columns = ("label", "cells", "marker_genes", "auroc_in_reference", "auroc_in_query")
    values = zip(*(lists[name] for name in columns), strict=True)
    return [dict(zip(columns, each, strict=True)) for each in values]


def _auroc(values: csr_matrix, codes: NDArray[np.int32], code: int) -> float | None:
    """How well the mean of genes tells the cells of a class from those of others."""
    own, others = codes == code, (codes != code) & (codes >= 0)
    if min(own.sum(), others.sum()) < _LEAST_CELLS or not values.shape[1]:
        return None
    mean = np.asarray(values.mean(axis=1)).ravel()
    ranks = rankdata(np.concatenate([mean[own], mean[others]]))[: own.sum()]
    least = own.sum() * (own.sum() + 1) / 2
    return float((ranks.sum() - least) / (own.sum() * others.sum()))
