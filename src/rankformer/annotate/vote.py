"""Labels of a reference transferred to other cells, by nearest neighbours of their embeddings."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.neighbours import scale_to_unit
from rankformer.annotate.reference import UNKNOWN, Reference
from rankformer.annotate.settings import NeighbourVote
from rankformer.embed.embedder import Embedder
from rankformer.embed.settings import CellMode
from rankformer.embed.settled_model import SettledModel
from rankformer.errors import SettingsError
from rankformer.results.cell_labels import CellLabels

logger = logging.getLogger(__name__)

DIVIDED, FAR = "votes are divided", "far from the reference"
STRANGE = "unlike the cells of the reference"
# A label with less is doubtful, also where the cell keeps it.
_EVEN = 0.5
# Said where the query is farther off than the reference's own kinds are wide.
_SUPPOSED = (
    " So do cells of another laboratory, and kinds that the reference lacks. If most of your cells "
    "may be of such kinds, pass allow_shift=False (--no-shift)."
)
_CELLS_OF_A_CLASS = 500
_CELLS_AT_ONCE = 8192


def check_annotation(
    reference: Reference,
    embedder: Embedder | SettledModel,
    keys: Mapping[str, str],
    mode: CellMode,
    vote: NeighbourVote,
) -> None:
    """Refuse, before any work, what does not go together."""
    reference.check_labels(list(keys))
    reference.check_fits(embedder, mode)
    expect_enough_cells(reference, vote)


def expect_enough_cells(reference: Reference, vote: NeighbourVote) -> None:
    if vote.n_neighbors >= len(reference):
        raise SettingsError(
            f"{vote.n_neighbors} neighbours were asked for, and the reference has "
            f"{len(reference):,} cells with a label.",
            "Fewer neighbours than reference cells.",
            f"Pass n_neighbors (--n-neighbors) of at most {len(reference) - 1}, or a larger "
            "reference.",
        )


def transfer_labels(
    vectors: NDArray[np.float32],
    missing: NDArray[np.object_],
    reference: Reference,
    keys: Mapping[str, str],
    vote: NeighbourVote,
) -> dict[str, CellLabels]:
    """Name of the result → labels, by the neighbours of each cell; how many are unknown is logged.

    Parameters
    ----------
    vectors
        (n_cells, d_model) float32; scaled to length 1 in place.
    missing
        (n_cells,) object: why a cell has no vector, or None.
    """
    cells = np.flatnonzero([each is None for each in missing])
    scale_to_unit(vectors)
    rows, distances = reference.index.search(vectors[cells], vote.n_neighbors)
    labels = {}
    for label, key in keys.items():
        codes, n_classes = reference.codes[label], len(reference.classes[label])
        named = CellsNamed.empty(len(cells), 0)
        # A block at a time: shares of all classes of millions of cells would be large.
        for start in range(0, len(rows), _CELLS_AT_ONCE):
            block = np.arange(start, min(start + _CELLS_AT_ONCE, len(rows)))
            said = count_votes(codes[rows[block]], distances[block], n_classes)
            named.put(block, said, distances[block].mean(axis=1))
        labels[key] = label_cells(named, cells, len(missing), reference, label, Rules(vote))
    return labels


@dataclass(frozen=True)
class Rules:
    """When a cell is unknown.

    Attributes
    ----------
    vote
        The limits of probability and distance.
    max_doubt
        The highest doubt, see `Doubts`, with which a cell keeps its name; None where doubts are not
        known.
    by_distance
        Whether the limit of distance holds.
    none_fits
        Whether the query as a whole is of other kinds, so that none of its cells is named.
    """

    vote: NeighbourVote
    max_doubt: float | None = None
    by_distance: bool = True
    none_fits: bool = False


@dataclass(frozen=True, eq=False)
class CellsNamed:
    """What cells with a vector resemble most; (n,) each.

    Attributes
    ----------
    best
        The class.
    share
        Its probability.
    distance
        The mean cosine distance to the nearest cells of the reference.
    shares
        (n, n_classes) of all classes, or (n, 0) where they are not kept.
    doubt
        See `Doubts`; NaN where it is not known.
    """

    best: NDArray[np.int64]
    share: NDArray[np.float32]
    distance: NDArray[np.float32]
    shares: NDArray[np.float32]
    doubt: NDArray[np.float32]

    @classmethod
    def empty(cls, n_cells: int, n_classes: int) -> "CellsNamed":
        """To be filled, some cells at a time."""
        share, distance = np.zeros((2, n_cells), np.float32)
        shares = np.zeros((n_cells, n_classes), np.float32)
        doubt = np.full(n_cells, np.nan, np.float32)
        return cls(np.zeros(n_cells, np.int64), share, distance, shares, doubt)

    def put(
        self,
        places: NDArray[np.int64],
        said: NDArray[np.float32],
        distance: NDArray[np.float32],
        doubt: NDArray[np.float32] | None = None,
    ) -> None:
        """Fill in some cells, of whose classes these are the probabilities."""
        self.best[places], self.share[places] = said.argmax(axis=1), said.max(axis=1)
        self.distance[places] = distance
        if self.shares.shape[1]:
            self.shares[places] = said
        if doubt is not None:
            self.doubt[places] = doubt


@dataclass(frozen=True, eq=False)
class _Decision:
    """What became of each cell with a vector; (n,) each."""

    divided: NDArray[np.bool_]
    far: NDArray[np.bool_]
    strange: NDArray[np.bool_]
    weak: NDArray[np.bool_]
    shift: float
    middle_limit: float

    @property
    def unknown(self) -> NDArray[np.bool_]:
        return self.divided | self.far | self.strange

    def why(self) -> NDArray[np.object_]:
        """What speaks against the label of each cell, or None."""
        reasons = ((self.far, FAR), (self.strange, STRANGE), (self.divided | self.weak, DIVIDED))
        said = [
            ", and ".join(reason for holds, (_, reason) in zip(row, reasons, strict=True) if holds)
            for row in zip(*(each for each, _ in reasons), strict=True)
        ]
        return np.array([each or None for each in said], dtype=object)


def count_votes(
    codes: NDArray[np.int32], distances: NDArray[np.float32], n_classes: int
) -> NDArray[np.float32]:
    """Shares of the weighted votes.

    Parameters
    ----------
    codes
        (n, k): the class of each neighbour.
    distances
        (n, k): how far it is; nearest first.

    Returns
    -------
    (n, n_classes) float32; each row sums to 1, and no share is above it.
    """
    farthest = np.maximum(distances[:, -1:], np.finfo(np.float32).tiny)
    weights = np.exp(-((distances / farthest).astype(np.float64) ** 2))
    places = np.arange(len(codes))[:, None] * n_classes + codes
    sums = np.bincount(places.ravel(), weights.ravel(), minlength=len(codes) * n_classes)
    shares = sums.reshape(-1, n_classes) / weights.sum(axis=1, keepdims=True)
    # Sums in another order differ in the last digit.
    return np.asarray(np.minimum(shares, 1), np.float32)


def _decide(named: CellsNamed, reference: Reference, label: str, rules: Rules) -> _Decision:
    best, mean, vote = named.best, named.distance, rules.vote
    far, shift, middle_limit = np.full(len(best), rules.none_fits), 0.0, np.nan
    if rules.by_distance and len(best):
        middle, limit = own_distances(reference, label, vote)
        if vote.allow_shift:
            shift = max(float(np.median(mean - middle[best])), 0.0)
        far |= mean > limit[best] + shift
        middle_limit = float(np.median(limit[best]))
    strange, weak = np.zeros((2, len(best)), bool)
    if rules.max_doubt is not None:
        strange, weak = named.doubt > rules.max_doubt, named.share < _EVEN
    return _Decision(named.share < vote.min_share, far, strange, weak, shift, middle_limit)


def own_distances(
    reference: Reference, label: str, vote: NeighbourVote
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far reference cells of each class lie from their own neighbours, each left out in turn.

    Of large classes 500 cells, evenly over the reference, stand for all.

    Returns
    -------
    Median and `distance_quantile` of the mean distance, (n_classes,) float32 each.
    """
    codes = reference.codes[label]
    middle, limit = [], []
    for code in range(len(reference.classes[label])):
        rows = np.flatnonzero(codes == code)
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _CELLS_OF_A_CLASS)).astype(int)]
        _, distances = reference.index.search_others(rows, vote.n_neighbors)
        mean = distances.mean(axis=1)
        middle.append(np.median(mean))
        limit.append(np.quantile(mean, vote.distance_quantile))
    return np.array(middle, np.float32), np.array(limit, np.float32)


def label_cells(
    named: CellsNamed,
    cells: NDArray[np.int64],
    n_cells: int,
    reference: Reference,
    label: str,
    rules: Rules,
) -> CellLabels:
    """Labels of all cells of a source, those without a vector among them; doubts are logged.

    Parameters
    ----------
    named
        What the cells with a vector resemble most.
    cells
        Rows of these.
    n_cells
        Of the source.
    reference, label
        By which they were named.
    rules
        When a cell is unknown.
    """
    decided = _decide(named, reference, label, rules)
    best = np.array(reference.classes[label], dtype=object)[named.best]
    values = best.copy()
    values[decided.unknown] = UNKNOWN
    _tell(label, decided, n_cells, rules)
    shares = None
    if named.shares.shape[1]:
        shares = np.full((n_cells, named.shares.shape[1]), np.nan, np.float32)
        shares[cells] = named.shares
    further = {"best": best, "distance": named.distance, "why": decided.why()}
    if rules.max_doubt is not None:
        further["doubt"] = named.doubt
    return CellLabels(
        values=_column(values, cells, n_cells),
        probability=_column(named.share, cells, n_cells),
        uncertain=_column(decided.unknown | decided.weak, cells, n_cells),
        classes=() if shares is None else reference.classes[label],
        class_probabilities=shares,
        further={name: _column(each, cells, n_cells) for name, each in further.items()},
        provenance={
            "label": label,
            "reference": dict(reference.provenance),
            "reference_cells": len(reference),
            "reference_classes": list(reference.classes[label]),
            "vote": asdict(rules.vote),
            "shift": decided.shift,
        },
    )


def _column(values: NDArray[Any], cells: NDArray[np.int64], n_cells: int) -> NDArray[Any]:
    """None, NaN or False where a cell has no value."""
    fill = {"O": None, "f": np.nan, "b": False}[values.dtype.kind]
    column = np.full(n_cells, fill, values.dtype)
    column[cells] = values
    return column


def _tell(label: str, decided: _Decision, n_cells: int, rules: Rules) -> None:
    if decided.shift and rules.by_distance:
        is_large = decided.shift > decided.middle_limit
        logger.log(
            logging.WARNING if is_large else logging.INFO,
            "%s: batch shift: the middle cell lies %.3f of cosine distance farther from the "
            "reference than its own cells do. The limit of distance, %.3f in the reference, was "
            "moved by as much.%s",
            label, decided.shift, decided.middle_limit, _SUPPOSED if is_large else "",
        )  # fmt: skip
    reasons = {"lie far from the reference": decided.far, "have no clear vote": decided.divided}
    if rules.max_doubt is not None:
        reasons = {"are unlike the cells of the reference": decided.strange, **reasons}
    logger.info(
        "%s: %s of %s cells are called unknown: %s. Several reasons may hold for a cell.",
        label, f"{int(decided.unknown.sum()):,}", f"{n_cells:,}",
        ", ".join(f"{int(each.sum()):,} {reason}" for reason, each in reasons.items()),
    )  # fmt: skip
