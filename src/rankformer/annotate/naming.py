"""Cells named by a reference: ways weighed, limits calibrated, and every cell given a label."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.annotate.calibration import Limits, calibrate
from rankformer.annotate.majority import clusters_of, majority_labels
from rankformer.annotate.neighbours import scale_to_unit
from rankformer.annotate.profiles import (
    Profiles,
    QueryCounts,
    some_expression,
)
from rankformer.annotate.reference import Reference
from rankformer.annotate.settings import Labelling
from rankformer.annotate.shared_genes import GeneOverlap
from rankformer.annotate.vote import CellsNamed, count_votes, label_cells
from rankformer.annotate.ways import NEIGHBOURS, FittedWay, Lesson, fit_ways
from rankformer.annotate.weighing import (
    Choice,
    HeldOut,
    choose_way,
    hold_out,
    sample_of,
    ways_at_hand,
)
from rankformer.cells.normalise import log_normalise
from rankformer.results.cell_labels import CellLabels

logger = logging.getLogger(__name__)

# So that time and memory do not grow with a reference: of a larger one, cells stand for all.
CELLS_TO_WEIGH, CELLS_TO_LEARN, CELLS_SHOWN = 2_000, 10_000, 2_000
_CELLS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Query:
    """Cells to be named.

    Attributes
    ----------
    vectors
        (n_cells, d_model) float32; scaled to length 1 in place.
    missing
        (n_cells,) object: why a cell has no vector, or None.
    obs
        Of the cells: only the clusters of a majority vote are looked up there.
    counts
        Their counts of the genes that the reference has, too; None where these are not known.
    """

    vectors: NDArray[np.float32]
    missing: NDArray[np.object_]
    obs: pd.DataFrame
    counts: QueryCounts | None = None

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """Rows of the cells that have a vector, ascending."""
        return np.flatnonzero([each is None for each in self.missing])


def name_cells(
    query: Query,
    reference: Reference,
    keys: Mapping[str, str],
    how: Labelling,
    overlap: GeneOverlap,
) -> dict[str, CellLabels]:
    """Name of the result → labels; the way and the limits are chosen for each label by itself.

    Of the query nothing but vectors, counts and clusters is looked at.

    Parameters
    ----------
    query
        Cells to be named.
    reference
        Labelled cells.
    keys
        Label of the reference → name of the result.
    how
        By which way, and when a cell comes out unknown.
    overlap
        The genes that both measured.
    """
    scale_to_unit(query.vectors)
    has_counts = None not in (query.counts, reference.counts) and overlap.genes is not None
    if not len(query.cells):
        how, has_counts = replace(how, method="neighbours"), False
    ways = ways_at_hand(has_counts, how.method)
    shown = _show(query) if len(ways) > 1 else None
    labels = {
        key: _Namer(query, reference, label, how, shown, overlap).name(ways)
        for label, key in keys.items()
    }
    if how.majority_vote is None:
        return labels
    clusters = clusters_of(query.obs, query.vectors, query.cells, how.majority_vote)
    return {key: _with_majority(each, query, clusters) for key, each in labels.items()}


def _with_majority(labels: CellLabels, query: Query, clusters: NDArray[np.object_]) -> CellLabels:
    majority = np.full(len(query.missing), None, dtype=object)
    majority[query.cells] = majority_labels(labels.further["best"][query.cells], clusters)
    return replace(labels, further={**labels.further, "majority": majority})


def _show(query: Query) -> Profiles:
    """Some cells of the query, evenly over it, by which a shift is known."""
    rows = query.cells
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), CELLS_SHOWN)).astype(int)]
    assert query.counts is not None  # noqa: S101
    return Profiles(query.vectors[rows], some_expression(query.counts, rows))


@dataclass(frozen=True, eq=False)
class _Namer:
    """Names the cells of a query by one label of a reference."""

    query: Query
    reference: Reference
    label: str
    how: Labelling
    shown: Profiles | None
    overlap: GeneOverlap

    def name(self, ways: Sequence[str]) -> CellLabels:
        lesson, groups = self._lesson(CELLS_TO_WEIGH)
        held = hold_out(lesson, groups, ways) if self._is_to_weigh(ways) else None
        choice = choose_way(held, self.how.method, ways)
        limits = self._calibrate(lesson, held, choice)
        vote = self.how.vote() if limits is None else self.how.vote(limits.min_share)
        named = self._name_all(choice)
        labels = label_cells(
            named, self.query.cells, len(self.query.missing), self.reference, self.label, vote
        )
        provenance = {
            **labels.provenance,
            "method": choice.plain(),
            "unknown": {} if limits is None else limits.plain(),
        }
        return replace(labels, provenance=provenance)

    def _is_to_weigh(self, ways: Sequence[str]) -> bool:
        """Neighbours alone, with a limit that was given, are as they are asked for."""
        is_plain = self.how.method == NEIGHBOURS and self.how.min_share is not None
        return not is_plain and not (len(ways) == 1 and not _has_sklearn())

    def _lesson(self, n_cells: int) -> tuple[Lesson, NDArray[np.object_] | None]:
        """Some cells of the reference, each label and group in its share."""
        reference = self.reference
        codes, groups = reference.codes[self.label], reference.groups
        rows = sample_of(codes, n_cells, groups)
        expression = None
        if self.shown is not None:
            assert reference.counts is not None  # noqa: S101
            assert self.overlap.genes is not None  # noqa: S101
            places = np.searchsorted(reference.counts.genes, self.overlap.genes)
            expression = log_normalise(reference.counts.rows(rows)[:, places])
        cells = Profiles(np.asarray(reference.index.vectors[rows]), expression)
        n_classes = len(reference.classes[self.label])
        own = None if groups is None else groups[rows]
        return Lesson(cells, codes[rows], n_classes, self.how.n_neighbors), own

    def _calibrate(self, lesson: Lesson, held: HeldOut | None, choice: Choice) -> Limits | None:
        if held is None or self.how.min_share is not None:
            return None
        return calibrate(lesson, held, choice.parts, self.reference.classes[self.label])

    def _name_all(self, choice: Choice) -> CellsNamed:
        fitted = self._fit(choice)
        codes = self.reference.codes[self.label]
        n_classes, n_cells = len(self.reference.classes[self.label]), len(self.query.cells)
        named = CellsNamed.empty(n_cells, n_classes if self.how.probabilities else 0)
        place = np.full(len(self.query.missing), -1)
        place[self.query.cells] = np.arange(n_cells)
        for rows, cells in self._blocks(needs_counts=bool(fitted)):
            found, distances = self.reference.index.search(cells.vectors, self.how.n_neighbors)
            if fitted:
                said = np.mean([each.probabilities(cells) for each in fitted], axis=0)
            else:
                said = count_votes(codes[found], distances, n_classes)
            named.put(place[rows], np.asarray(said, np.float32), distances.mean(axis=1))
        return named

    def _fit(self, choice: Choice) -> list[FittedWay]:
        """What has learned; nothing where neighbours of the whole reference vote as they are."""
        if self.shown is None:
            return []
        lesson, _ = self._lesson(CELLS_TO_LEARN)
        if len(lesson) < len(self.reference):
            logger.info(
                "%s: %s of the %s cells of the reference, each label in its share, are learned "
                "from.", self.label, f"{len(lesson):,}", f"{len(self.reference):,}",
            )  # fmt: skip
        return list(fit_ways(choice.parts, lesson, self.shown).values())

    def _blocks(self, *, needs_counts: bool) -> Iterator[tuple[NDArray[np.int64], Profiles]]:
        """Rows of cells with a vector, and the cells, some at a time."""
        query = self.query
        if not needs_counts:
            for start in range(0, len(query.cells), _CELLS_AT_ONCE):
                rows = query.cells[start : start + _CELLS_AT_ONCE]
                yield rows, Profiles(np.asarray(query.vectors[rows]))
            return
        assert query.counts is not None  # noqa: S101
        has_vector = np.array([each is None for each in query.missing], dtype=bool)
        for rows, counts in query.counts.blocks():
            own = has_vector[rows]
            if own.any():
                expression = log_normalise(counts[own])
                yield rows[own], Profiles(np.asarray(query.vectors[rows[own]]), expression)


def _has_sklearn() -> bool:
    from importlib.util import find_spec

    return find_spec("sklearn") is not None
