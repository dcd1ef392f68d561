"""When a cell is unknown: limits found on the reference, of which each class is left out once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.doubt import Doubts
from rankformer.annotate.profiles import Profiles
from rankformer.annotate.ways import Lesson, learn
from rankformer.annotate.weighing import HeldOut

# Of many classes, those with most cells are left out: each costs as much as naming all once.
MOST_CLASSES = 12
_LEAST_CELLS = 10
# Of the cells that are rightly named, at least so many keep their name.
LEAST_KEPT = 0.95
_SHARES = np.linspace(LEAST_KEPT, 1, 51)
DOUBT, PROBABILITY = "doubt", "probability"


@dataclass(frozen=True)
class Limits:
    """From when on a cell is unknown.

    Attributes
    ----------
    by
        ``"doubt"``, see `Doubts`; or ``"probability"``, where no doubt can be had.
    limit
        The highest doubt, or the lowest probability, with which a cell keeps its name.
    found
        Of cells of a class that was left out, the share that is called unknown by this limit; each
        class counts the same.
    found_by_half
        The same where a cell with a probability below 0.5 is unknown.
    kept
        Of cells that are rightly named, the share that keeps its name by this limit.
    auroc
        How well left-out classes are told from the others, from 0 to 1 (0.5 is chance); the mean
        over them.
    auroc_of_probability
        The same by the probability alone.
    called_else
        Class → the share of its cells that, with the class left out, is called something else.
    """

    by: str
    limit: float
    found: float
    found_by_half: float
    kept: float
    auroc: float
    auroc_of_probability: float
    called_else: dict[str, float]

    def plain(self) -> dict[str, Any]:
        """As provenance has it."""
        return {
            "by": self.by, "limit": self.limit, "left_out_classes_found": round(self.found, 4),
            "found_with_0.5": round(self.found_by_half, 4),
            "rightly_named_kept": round(self.kept, 4), "auroc": round(self.auroc, 4),
            "auroc_of_probability": round(self.auroc_of_probability, 4),
            "left_out": list(self.called_else),
            "called_something_else": [round(each, 4) for each in self.called_else.values()],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Judged:
    """Cells that were named by others; (n,) each."""

    strange: NDArray[np.float32]
    probability: NDArray[np.float32]
    best: NDArray[np.int64]


def calibrate(
    lesson: Lesson,
    held: HeldOut,
    parts: Sequence[str],
    names: Sequence[str],
    *,
    by_doubt: bool = True,
) -> Limits | None:
    """Find the limit that tells cells of classes that are left out from those that are there.

    Two fifths of the cells, in whole groups where there are any, are named by the others, as a
    query is; once with all classes there, and once without each of them. The limit is that at which
    the mean of two shares is highest: of the cells of a left-out class that are called unknown,
    each class counting the same; and of the rightly named cells that keep their name while all
    classes are there. Of the latter, at least 19 in 20 do.

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
    by_doubt
        Whether the limit is one of the doubt, and not of the probability.

    Returns
    -------
    None where fewer than three classes can be left out or be named, or there are too few cells to
    know a doubt by.
    """
    sizes = np.bincount(lesson.codes, minlength=lesson.n_classes)
    largest = np.argsort(-sizes, kind="stable")[:MOST_CLASSES]
    n_tested = max(1, len(held.folds) * 2 // 5)
    tested = np.sort(np.concatenate([each for _, each in held.folds[:n_tested]]))
    learned = np.setdiff1d(np.arange(len(lesson)), tested)
    codes, cells = lesson.codes[tested], lesson.cells.take(tested)
    if by_doubt and not Doubts.can_be_had(cells):
        return None
    left_out = {}
    for code in largest[sizes[largest] >= _LEAST_CELLS]:
        others = learned[lesson.codes[learned] != code]
        if 0 < (codes == code).sum() < len(codes) and len(np.unique(lesson.codes[others])) > 1:
            left_out[int(code)] = _judge(lesson.take(others), cells, parts, by_doubt)
    if not left_out:
        return None
    known = _judge(lesson.take(learned), cells, parts, by_doubt)
    right = known.best == codes
    if not right.any():
        return None
    own = {code: each.strange[codes == code] for code, each in left_out.items()}
    limit, found, kept = _best_limit(known.strange[right], list(own.values()))
    halves = [(each.probability[codes == code] < 0.5).mean() for code, each in left_out.items()]
    return Limits(
        by=DOUBT if by_doubt else PROBABILITY, limit=limit if by_doubt else 1 - limit,
        found=found, found_by_half=float(np.mean(halves)), kept=kept,
        auroc=_auroc(codes, {code: each.strange for code, each in left_out.items()}),
        auroc_of_probability=_auroc(
            codes, {code: -each.probability for code, each in left_out.items()}
        ),
        called_else={names[code]: float((each <= limit).mean()) for code, each in own.items()},
    )  # fmt: skip


def _judge(taught: Lesson, cells: Profiles, parts: Sequence[str], by_doubt: bool) -> _Judged:
    learned = learn(taught, cells)
    said = np.mean([learned.ways[way].probabilities(cells) for way in parts], axis=0)
    probability = np.asarray(said.max(axis=1), np.float32)
    doubts = Doubts.learn(taught, cells, learned) if by_doubt else None
    strange = 1 - probability if doubts is None else doubts.of(cells, np.arange(len(cells)))
    return _Judged(strange, probability, said.argmax(axis=1))


def _best_limit(
    known: NDArray[np.float32], strange: Sequence[NDArray[np.float32]]
) -> tuple[float, float, float]:
    """The limit, the share of strange cells beyond it, and that of known ones below."""
    limits = np.unique(np.quantile(known, _SHARES, method="higher"))
    found = np.mean([[(each > limit).mean() for limit in limits] for each in strange], axis=0)
    kept = np.array([(known <= limit).mean() for limit in limits])
    best = int(np.argmax(found + kept))
    return float(limits[best]), float(found[best]), float(kept[best])


def _auroc(codes: NDArray[np.int32], strange: dict[int, NDArray[np.float32]]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(np.mean([roc_auc_score(codes == code, each) for code, each in strange.items()]))
