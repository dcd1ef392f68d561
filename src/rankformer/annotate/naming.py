"""Cells named by a reference: ways weighed, limits calibrated, and every cell given a label."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.annotate.calibration import Limits, calibrate
from rankformer.annotate.doubt import Doubts
from rankformer.annotate.integrating import mix_with_query
from rankformer.annotate.majority import clusters_of, majority_labels
from rankformer.annotate.markers import as_lists, check_markers, marker_lines
from rankformer.annotate.neighbours import scale_to_unit
from rankformer.annotate.ontology import with_terms
from rankformer.annotate.profiles import (
    Profiles,
    QueryCounts,
    some_expression,
)
from rankformer.annotate.reference import Reference
from rankformer.annotate.settings import Labelling
from rankformer.annotate.shared_genes import GeneOverlap
from rankformer.annotate.shift import ShiftChoice
from rankformer.annotate.vote import CellsNamed, Rules, count_votes, label_cells
from rankformer.annotate.ways import LEAST_SHOWN, NEIGHBOURS, FittedWay, Lesson, learn
from rankformer.annotate.weighing import (
    Choice,
    HeldOut,
    choose_way,
    has_sklearn,
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
# A doubt, where the reference is too small to calibrate it on.
_MAX_DOUBT = 1.5
# A query that differs so much from the reference, and on whose cells as they are the ways agree so
# little, is of other kinds of cells.
LARGE_SHIFT, LITTLE_AGREEMENT = 0.75, 0.6


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
    if how.integrate == "harmony":
        reference = mix_with_query(reference, query.vectors, query.cells)
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


def _rows_shown(query: Query) -> NDArray[np.int64]:
    rows = query.cells
    places = np.linspace(0, len(rows) - 1, min(len(rows), CELLS_SHOWN)).astype(int)
    return np.asarray(rows[places], np.int64)


def _show(query: Query) -> Profiles:
    """Some cells of the query, evenly over it, by which a shift is known."""
    rows = _rows_shown(query)
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
        named, shift = self._name_all(choice)
        classes = self.reference.classes[self.label]
        rules = self._rules(limits, shift)
        labels = label_cells(
            named, self.query.cells, len(self.query.missing), self.reference, self.label, rules
        )
        provenance = {
            **labels.provenance,
            "method": choice.plain(),
            "integrate": self.how.integrate,
            "unknown": {} if limits is None else limits.plain(),
            "markers": self._check_markers(lesson, labels),
            "shift_of_query": {} if shift is None else shift.plain(),
        }
        if rules.max_doubt is not None:
            provenance["max_doubt"] = rules.max_doubt
        calls = None if held is None else held.calls(choice.parts)
        return with_terms(replace(labels, provenance=provenance), classes, calls)

    def _check_markers(self, lesson: Lesson, labels: CellLabels) -> dict[str, Any]:
        """Of the labels that cells were given, on those that were shown; what fails is logged."""
        learned, shown = lesson.cells.expression, self.shown
        if shown is None or shown.expression is None or learned is None or not self.overlap.names:
            return {}
        classes = self.reference.classes[self.label]
        code_of = {name: code for code, name in enumerate(classes)}
        said = np.asarray(labels.values)[_rows_shown(self.query)]
        given = [code_of.get(each, -1) for each in said]
        checks = check_markers(
            (learned, lesson.codes), (shown.expression, np.array(given, np.int32)),
            classes, self.overlap.names,
        )  # fmt: skip
        for line in marker_lines(checks):
            logger.warning("%s: %s", self.label, line)
        return as_lists(checks)

    @property
    def _has_doubts(self) -> bool:
        return self.how.use_doubt and self.shown is not None and Doubts.can_be_had(self.shown)

    @property
    def _is_limit_given(self) -> bool:
        given = self.how.max_doubt if self._has_doubts else self.how.min_share
        return given is not None

    def _is_to_weigh(self, ways: Sequence[str]) -> bool:
        """Neighbours alone, with a limit that was given, are as they are asked for."""
        is_plain = self.how.method == NEIGHBOURS and self._is_limit_given
        return not is_plain and not (len(ways) == 1 and not has_sklearn())

    def _rules(self, limits: Limits | None, shift: ShiftChoice | None) -> Rules:
        how = self.how
        if not self._has_doubts:
            if how.max_doubt is not None:
                logger.warning(
                    "%s: max_doubt (--max-doubt) has no effect, as no doubt is known of these "
                    "cells: that takes counts of reference and query, and at least %d cells. The "
                    "probability and the distance decide.", self.label, LEAST_SHOWN,
                )  # fmt: skip
            return Rules(how.vote() if limits is None else how.vote(limits.limit))
        limit = _MAX_DOUBT if limits is None else limits.limit
        none_fits = shift is not None and how.distance_quantile != 1 and self._is_foreign(shift)
        return Rules(
            how.vote(0), limit if how.max_doubt is None else how.max_doubt,
            by_distance=how.distance_quantile is not None, none_fits=none_fits,
        )  # fmt: skip

    def _is_foreign(self, shift: ShiftChoice) -> bool:
        """Whether the cells as a whole are of kinds that the reference lacks; doubts are logged."""
        if shift.length < LARGE_SHIFT:
            return False
        is_foreign = shift.agreement_without < LITTLE_AGREEMENT
        logger.warning(
            "%s: as a whole, the cells differ from those of the reference %.2f times as much as "
            "two of its labels do from each other. %s",
            self.label, shift.length,
            f"The ways of naming agree on {100 * shift.agreement_without:.0f} % of the cells as "
            "they are. So they are taken for kinds of cells that the reference lacks, and all are "
            "called unknown; name them nevertheless with distance_quantile=1 "
            "(--distance-quantile 1)." if is_foreign else
            "Where its labels are much like one another, this is a batch effect; otherwise look at "
            "marker genes before you trust the labels.",
        )  # fmt: skip
        return is_foreign

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
        if held is None or self._is_limit_given:
            return None
        return calibrate(
            lesson, held, choice.parts, self.reference.classes[self.label],
            by_doubt=self._has_doubts,
        )  # fmt: skip

    def _name_all(self, choice: Choice) -> tuple[CellsNamed, ShiftChoice | None]:
        fitted, doubts, shift = self._fit(choice)
        codes = self.reference.codes[self.label]
        n_classes, n_cells = len(self.reference.classes[self.label]), len(self.query.cells)
        named = CellsNamed.empty(n_cells, n_classes if self.how.probabilities else 0)
        place, place_shown = np.full((2, len(self.query.missing)), -1)
        place[self.query.cells] = np.arange(n_cells)
        shown = _rows_shown(self.query)
        place_shown[shown] = np.arange(len(shown))
        for rows, cells in self._blocks(needs_counts=bool(fitted)):
            found, distances = self.reference.index.search(cells.vectors, self.how.n_neighbors)
            if fitted:
                said = np.mean([each.probabilities(cells) for each in fitted], axis=0)
            else:
                said = count_votes(codes[found], distances, n_classes)
            doubt = None if doubts is None else doubts.of(cells, place_shown[rows])
            named.put(place[rows], np.asarray(said, np.float32), distances.mean(axis=1), doubt)
        return named, shift

    def _fit(self, choice: Choice) -> tuple[list[FittedWay], Doubts | None, ShiftChoice | None]:
        """What has learned; nothing where neighbours of the whole reference vote as they are."""
        if self.shown is None:
            return [], None, None
        lesson, _ = self._lesson(CELLS_TO_LEARN)
        if len(lesson) < len(self.reference):
            logger.info(
                "%s: %s of the %s cells of the reference, each label in its share, are learned "
                "from.", self.label, f"{len(lesson):,}", f"{len(self.reference):,}",
            )  # fmt: skip
        learned = learn(lesson, self.shown)
        doubts = Doubts.learn(lesson, self.shown, learned) if self._has_doubts else None
        return [learned.ways[way] for way in choice.parts], doubts, learned.choice

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
