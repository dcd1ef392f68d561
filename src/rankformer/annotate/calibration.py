"""When a cell is unknown: limits found on the reference, of which each class is left out once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.ways import Lesson, fit_ways
from rankformer.annotate.weighing import HeldOut

# Of many classes, those with most cells are left out: each costs as much as naming all once.
MOST_CLASSES = 12
_LEAST_CELLS = 10
# Of the cells that are rightly named, at least so many keep their name.
LEAST_KEPT = 0.9
_SHARES = np.round(np.arange(0.0, 1.0, 0.02), 2)


@dataclass(frozen=True)
class Limits:
    """Below which probability a cell is unknown.

    Attributes
    ----------
    min_share
        The limit.
    found
        Of cells of a class that was left out, the share that is called unknown by this limit; each
        class counts the same.
    found_by_half
        The same by a limit of 0.5.
    kept
        Of cells that are rightly named, the share that keeps its name by this limit.
    called_else
        Class → the share of its cells that, with the class left out, is called something else.
    """

    min_share: float
    found: float
    found_by_half: float
    kept: float
    called_else: dict[str, float]

    def plain(self) -> dict[str, Any]:
        """As provenance has it."""
        return {
            "min_share": self.min_share, "left_out_classes_found": round(self.found, 4),
            "found_with_0.5": round(self.found_by_half, 4),
            "rightly_named_kept": round(self.kept, 4),
            "left_out": list(self.called_else),
            "called_something_else": [round(each, 4) for each in self.called_else.values()],
        }  # fmt: skip


def calibrate(
    lesson: Lesson, held: HeldOut, parts: Sequence[str], names: Sequence[str]
) -> Limits | None:
    """Find the limit that tells cells of classes that are left out from those that are there.

    The limit is that at which the mean of two shares is highest: of the cells of a left-out class
    that are called unknown, each class counting the same; and of the cells that were rightly named
    while they were held out, that keep their name. Of the latter, at least nine in ten do.

    Parameters
    ----------
    lesson
        The cells of the reference.
    held
        What the ways say of them, each named by others.
    parts
        The single ways whose mean is taken.
    names
        Of the classes.

    Returns
    -------
    None where fewer than three classes can be left out or be named.
    """
    sizes = np.bincount(lesson.codes, minlength=lesson.n_classes)
    left_out = [code for code in np.argsort(-sizes, kind="stable") if sizes[code] >= _LEAST_CELLS]
    if (sizes > 0).sum() < 3 or not left_out:
        return None
    said = held.of(parts)
    right = said.argmax(axis=1) == lesson.codes
    known = np.sort(said.max(axis=1)[right])
    asked = {
        names[code]: _strange(lesson, held, parts, int(code)) for code in left_out[:MOST_CLASSES]
    }
    strange = {name: each for name, each in asked.items() if len(each)}
    if not strange or not right.any():
        return None
    found = np.mean([_below(np.sort(each), _SHARES) for each in strange.values()], axis=0)
    kept = 1 - _below(known, _SHARES)
    allowed = np.where(kept >= LEAST_KEPT, (found + kept) / 2, -1.0)
    best = int(allowed.argmax())
    half = int(np.flatnonzero(_SHARES == 0.5)[0])
    share = float(_SHARES[best])
    return Limits(
        share, float(found[best]), float(found[half]), float(kept[best]),
        {name: float((each >= share).mean()) for name, each in strange.items()},
    )  # fmt: skip


def _strange(lesson: Lesson, held: HeldOut, parts: Sequence[str], code: int) -> NDArray[np.float32]:
    """The winner's probability of each cell of a class that nothing was learned of.

    The cells are those of some folds, and are named by those of the others: never by a cell of
    their own group.
    """
    n_tested = max(1, len(held.folds) * 2 // 5)
    tested = np.sort(np.concatenate([each for _, each in held.folds[:n_tested]]))
    own = lesson.codes[tested] == code
    others = np.setdiff1d(np.arange(len(lesson)), tested)
    others = others[lesson.codes[others] != code]
    if not own.any() or len(np.unique(lesson.codes[others])) < 2:
        return np.zeros(0, np.float32)
    taught, cells = lesson.take(others), lesson.cells.take(tested)
    fitted = fit_ways(parts, taught, cells)
    said = np.mean([each.probabilities(cells) for each in fitted.values()], axis=0)
    return np.asarray(said[own].max(axis=1), np.float32)


def _below(ascending: NDArray[np.float32], limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of values below each limit."""
    return np.searchsorted(ascending, limits, side="left") / max(len(ascending), 1)
