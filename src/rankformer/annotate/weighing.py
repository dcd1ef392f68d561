"""Which way of naming cells does best on a reference itself, of which some cells are held out."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.ways import (
    AGREEMENT,
    BEST_TWO,
    BY_EXPRESSION,
    IN_WORDS,
    NEIGHBOURS,
    SINGLE_WAYS,
    Lesson,
    fit_ways,
)
from rankformer.errors import SettingsError
from rankformer.extras import install_command

logger = logging.getLogger(__name__)

N_FOLDS = 5
# Of fewer cells, or cells of a class, the figures would be chance.
LEAST_CELLS, LEAST_OF_A_CLASS = 100, 5
_GROUPS = "whole groups"
N_DRAWS, _CHANCE = 200, 0.05
_BY_MACRO_F1 = (
    "the best macro-F1 on held-out cells of the reference; where ways differ by chance, the one "
    "that joins most"
)
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Tried:
    """How a way did on cells that were held out.

    Attributes
    ----------
    way
        Its name.
    parts
        The single ways whose probabilities it averages: itself, or all.
    macro_f1
        The mean over the classes of the F1 score.
    accuracy
        The share of the cells that it named rightly.
    """

    way: str
    parts: tuple[str, ...]
    macro_f1: float
    accuracy: float

    def plain(self) -> dict[str, Any]:
        """As provenance and tables have it."""
        return {
            "in_words": IN_WORDS[self.way], "macro_f1": round(self.macro_f1, 4),
            "accuracy": round(self.accuracy, 4),
        }  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """The way that names cells.

    Attributes
    ----------
    way
        Its name.
    parts
        The single ways whose probabilities are averaged.
    why
        A sentence on what it was chosen by.
    tried
        All ways that were tried, the best first; none where none was.
    """

    way: str
    parts: tuple[str, ...]
    why: str
    tried: tuple[Tried, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As provenance has it."""
        return {
            "way": self.way, "parts": list(self.parts), "why": self.why,
            "tried": {each.way: each.plain() for each in self.tried},
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What each way says of cells of the reference that it did not learn from.

    Attributes
    ----------
    probabilities
        Way → (n_cells, n_classes) float32.
    folds
        Rows that were learned from, and rows that were held out, for each fold.
    codes
        (n_cells,) int32: the classes.
    by
        What was held out, in words.
    units
        (n_cells,) which group each cell is of, where whole groups were held out; or None.
    """

    probabilities: Mapping[str, NDArray[np.float32]]
    folds: Sequence[Fold]
    codes: NDArray[np.int32]
    by: str
    units: NDArray[np.object_] | None = None

    def of(self, parts: Sequence[str]) -> NDArray[np.float32]:
        """The mean of the probabilities of some single ways."""
        return np.asarray(np.mean([self.probabilities[each] for each in parts], axis=0), np.float32)

    def calls(self, parts: Sequence[str]) -> NDArray[np.int64]:
        """(n_classes, n_classes): cells by the class they were given, and that which they have."""
        said = self.of(parts)
        calls = np.zeros((said.shape[1], said.shape[1]), np.int64)
        np.add.at(calls, (said.argmax(axis=1), self.codes), 1)
        return calls


def hold_out(
    lesson: Lesson, groups: NDArray[np.object_] | None, ways: Sequence[str]
) -> HeldOut | None:
    """Name the cells of a reference by others of it; None where it is too small for that.

    Parameters
    ----------
    lesson
        The cells.
    groups
        (n_cells,) their donors or batches: whole ones are held out; single cells otherwise.
    ways
        The single ways to try.
    """
    if is_too_small(lesson.codes, lesson.n_classes):
        return None
    folds, by = _cut(lesson.codes, groups)
    found = {
        way: np.zeros((len(lesson), lesson.n_classes), np.float32) for way in ways
    }  # fmt: skip
    for learned, held in folds:
        own, others = lesson.take(learned), lesson.cells.take(held)
        for way, fitted in fit_ways(ways, own, others).items():
            found[way][held] = fitted.probabilities(others)
    units = groups if by.startswith(_GROUPS) else None
    return HeldOut(found, folds, lesson.codes, by, units)


def _cut(codes: NDArray[np.int32], groups: NDArray[np.object_] | None) -> tuple[list[Fold], str]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    with warnings.catch_warnings():
        # Classes of fewer cells than folds are in some folds alone.
        warnings.simplefilter("ignore")
        if groups is not None and len(set(groups)) > 1:
            n_folds = min(N_FOLDS, len(set(groups)))
            cutter: Any = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
            folds = [
                each for each in cutter.split(codes, codes, groups) if len(each[0]) and len(each[1])
            ]
            return folds, f"{_GROUPS}, {len(set(groups)):,} in {len(folds)} folds"
        cutter = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
        return list(cutter.split(codes, codes)), f"single cells, in {N_FOLDS} folds"


def score(way: str, parts: Sequence[str], held: HeldOut) -> Tried:
    """How the mean of some ways did on the cells that were held out."""
    said = held.of(parts).argmax(axis=1)
    right = float((said == held.codes).mean())
    return Tried(way, tuple(parts), macro_f1(held.codes, said), right)


def choose_way(held: HeldOut | None, method: str, ways: Sequence[str]) -> Choice:
    """The way that was named, or the one that did best.

    Parameters
    ----------
    held
        What the ways say of cells that were held out; None where the reference is too small.
    method
        ``"auto"``, or a way.
    ways
        The single ways that there can be.

    Raises
    ------
    SettingsError
        If the way that was named cannot be had.
    """
    if held is None:
        return _without_trial(method, ways)
    single = sorted((score(way, (way,), held) for way in ways), key=_rank)
    tried = list(single)
    if len(single) > 2:
        tried.append(score(BEST_TWO, (single[0].way, single[1].way), held))
        tried.append(score(AGREEMENT, tuple(ways), held))
    tried.sort(key=_rank)
    if method == "auto":
        best = _best_of(tried, held)
        return Choice(best.way, best.parts, f"{_BY_MACRO_F1} ({held.by})", tuple(tried))
    meant = (AGREEMENT, BEST_TWO) if method == AGREEMENT else (method,)
    asked = [each for each in tried if each.way in meant]
    if not asked:
        raise _cannot(method, ways)
    named = _best_of(asked, held)
    why = f"{IN_WORDS[method]}, as asked for; all tried on held-out cells ({held.by})"
    return Choice(named.way, named.parts, why, tuple(tried))


def _best_of(tried: Sequence[Tried], held: HeldOut) -> Tried:
    """The way that agrees with most others, unless a narrower one is better beyond chance.

    Cells of a reference are of one laboratory, or a few. On those of others, single ways fail that
    were best before, and the mean of all seldom does. So the agreement of all gives way to that of
    the best two, and this to a single way, only where the held-out cells say so clearly.
    """
    by_width = sorted(tried, key=lambda each: (-len(each.parts), *_rank(each)))
    chosen = by_width[0]
    for each in by_width[1:]:
        if is_beyond_chance(each, chosen, held):
            chosen = each
    return chosen


def is_beyond_chance(best: Tried, other: Tried, held: HeldOut) -> bool:
    """Whether a way is better than another in 95 % of 200 draws of the cells that were held out.

    Cells are drawn with replacement, and whole groups where these were held out.
    """
    if best.macro_f1 <= other.macro_f1:
        return False
    rng = np.random.default_rng(0)
    said = [held.of(each.parts).argmax(axis=1) for each in (best, other)]
    units = np.arange(len(held.codes)) if held.units is None else held.units
    members = [np.flatnonzero(units == each) for each in np.unique(units)]
    n_worse = 0
    for _ in range(N_DRAWS):
        drawn = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        first, second = (macro_f1(held.codes[drawn], each[drawn]) for each in said)
        n_worse += first <= second
    return bool(n_worse < _CHANCE * N_DRAWS)


def macro_f1(truth: NDArray[np.int32], said: NDArray[np.int64]) -> float:
    """The mean over the classes that there are of the F1 score."""
    n = int(max(truth.max(), said.max())) + 1
    right = np.bincount(truth[truth == said], minlength=n)
    of_class, called = np.bincount(truth, minlength=n), np.bincount(said, minlength=n)
    there = of_class > 0
    return float(np.mean(2 * right[there] / (of_class + called)[there]))


def _rank(tried: Tried) -> tuple[float, float]:
    return (-tried.macro_f1, -tried.accuracy)


def _without_trial(method: str, ways: Sequence[str]) -> Choice:
    too_small = (
        f"the reference is too small to try ways on (at least {LEAST_CELLS} cells, and two labels "
        f"of at least {LEAST_OF_A_CLASS})"
    )
    if method == "auto":
        return Choice(NEIGHBOURS, (NEIGHBOURS,), f"{IN_WORDS[NEIGHBOURS]}, as {too_small}")
    if method == AGREEMENT:
        raise SettingsError(
            f"The agreement of the ways was asked for, and {too_small}.",
            "A larger reference, of which cells can be held out.",
            "Name one way with method (--method), such as logistic.",
        )
    if method not in ways:
        raise _cannot(method, ways)
    return Choice(method, (method,), f"{IN_WORDS[method]} was asked for")


def _cannot(method: str, ways: Sequence[str]) -> SettingsError:
    return SettingsError(
        f"The method {method} was asked for, and only {', '.join(ways)} can be had: the other ways "
        "need counts of both reference and query.",
        "A reference and a query of counts; saved tokens hold none.",
        "Give the files of counts, and build a saved reference anew; or pass --method neighbours.",
    )


def check_method(
    method: str, ways: Sequence[str], codes: NDArray[np.int32], n_classes: int
) -> None:
    """Refuse, before any work, a way that cannot be had.

    Raises
    ------
    SettingsError
        If so.
    """
    if method not in ("auto", AGREEMENT, *ways) or (method == AGREEMENT and len(ways) == 1):
        raise _cannot(method, ways)
    if method == AGREEMENT and is_too_small(codes, n_classes):
        _without_trial(method, ways)


def is_too_small(codes: NDArray[np.int32], n_classes: int) -> bool:
    """Whether a reference has too few cells for ways to be tried on it."""
    sizes = np.bincount(codes, minlength=n_classes)
    return len(codes) < LEAST_CELLS or int((sizes >= LEAST_OF_A_CLASS).sum()) < 2


def ways_at_hand(has_counts: bool, method: str) -> tuple[str, ...]:
    """The single ways that there can be: without counts, or scikit-learn, neighbours alone.

    Raises
    ------
    SettingsError
        If a way was named that needs scikit-learn, which is not installed.
    """
    if not has_counts:
        return (NEIGHBOURS,)
    if has_sklearn():
        return SINGLE_WAYS
    if method in (AGREEMENT, *BY_EXPRESSION):
        raise SettingsError(
            f"The library scikit-learn is not installed, and the method {method} uses it.",
            "scikit-learn in this environment.",
            f"Install it with `{install_command('annotate')}`, or pass --method neighbours.",
        )
    logger.warning(
        "The library scikit-learn is not installed, so that cells are named by neighbours in the "
        "embedding, and no other way is tried. Install it with `%s`.",
        install_command("annotate"),
    )
    return (NEIGHBOURS,)


def has_sklearn() -> bool:
    """Whether ways can be tried on the reference."""
    return find_spec("sklearn") is not None


def sample_of(
    codes: NDArray[np.int32], n_cells: int, groups: NDArray[np.object_] | None = None
) -> NDArray[np.int64]:
    """Rows of at most so many cells, ascending, of each class and group in like shares.

    Small classes keep all of their cells: each gets at least 50, if it has them.
    """
    if len(codes) <= n_cells:
        return np.arange(len(codes))
    rng = np.random.default_rng(0)
    names = codes if groups is None else np.unique(groups, return_inverse=True)[1]
    taken = []
    for code in np.unique(codes):
        own = np.flatnonzero(codes == code)
        n_own = min(len(own), max(50, round(n_cells * len(own) / len(codes))))
        # At even steps through the cells sorted by group: each group gives its share.
        order = own[np.lexsort((rng.random(len(own)), names[own]))]
        taken.append(order[np.linspace(0, len(order) - 1, n_own).astype(int)])
    return np.unique(np.concatenate(taken))
