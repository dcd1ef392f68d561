"""How the cells to be named differ from labelled ones as a whole, and whether that is removed.

The shift is known once the cells are named, and they are named better once it is known: the two are
found in turns. Which way of naming does so best differs from query to query.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.profiles import Profiles

_MOST_ROUNDS = 20
# The share of probability that still moves between labels in a round; then it is over.
_LITTLE = 1e-3
_STANDARD_ERRORS = 2
# Cells on which ways agree besides, for each whose label they agree to overturn; but any shift may
# overturn a few.
_GAINED_EACH, _FEW = 2, 0.01
Said = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Space:
    """Where a way of naming sees cells lie, and what labelled ones say of other points there.

    Attributes
    ----------
    points
        Cells → (n_cells, n_dims) float32.
    say
        Points → (n_cells, n_classes) float32; each row sums to 1.
    """

    points: Callable[[Profiles], NDArray[np.float32]]
    say: Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Sight:
    """Cells to be named, beside labelled ones, in a space.

    Attributes
    ----------
    space
        Where they lie.
    points
        (n, n_dims) of the cells to be named.
    present
        (n_present,) the classes that have labelled cells.
    means
        (n_present, n_dims) of the labelled cells of each.
    """

    space: Space
    points: NDArray[np.float32]
    present: NDArray[np.int32]
    means: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        space: Space,
        cells: Profiles,
        labelled: Profiles,
        codes: NDArray[np.int32],
    ) -> "Sight":
        """Look at cells beside labelled ones, whose classes are (n_labelled,)."""
        present, points = np.unique(codes), space.points(labelled)
        means = [points[codes == code].mean(axis=0, dtype=np.float64) for code in present]
        return cls(space, space.points(cells), present, np.array(means))

    def say(self, shift: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """(n, n_classes) probabilities of the cells, less a shift."""
        return self.space.say(self.points if shift is None else self.points - shift)

    def shift(self, said: NDArray[np.float32]) -> NDArray[np.float32]:
        """How the cells lie, as a whole, beside labelled ones of the labels that they seem to have.

        Their mean, less the mean of the labelled cells in which each label has the share that it
        has among the cells. So it is not taken for a shift that a label is rarer in one of the two.

        Parameters
        ----------
        said
            (n, n_classes) the probabilities of the cells.

        Returns
        -------
        (n_dims,) float32.
        """
        shares = said.mean(axis=0, dtype=np.float64)[self.present]
        mean = shares @ self.means / shares.sum()
        return np.asarray(self.points.mean(axis=0, dtype=np.float64) - mean, np.float32)


@dataclass(frozen=True)
class ShiftChoice:
    """Whether cells are named less their shift, and what speaks for it.

    Attributes
    ----------
    taken_away
        Whether they are.
    by
        The way by whose labels the shift is known: all, or one.
    agreement_with
        How often two ways give a cell the same label, less its shift; the mean over pairs of ways.
    agreement_without
        The same with the cells as they are.
    overturned
        The share of the cells to which all ways give one label as they are, and all give another
        one less the shift.
    length
        How large the shift is among the principal components, where 1 is the middle distance
        between the means of two labels of the reference.
    """

    taken_away: bool
    by: str
    agreement_with: float
    agreement_without: float
    overturned: float
    length: float

    def plain(self) -> dict[str, Any]:
        """As provenance has it."""
        return {
            name: round(each, 4) if isinstance(each, float) else each
            for name, each in asdict(self).items()
        }


@dataclass(frozen=True, eq=False)
class Shift:
    """The shift of cells in the space of each way, and what speaks for it.

    Attributes
    ----------
    of
        Way → (n_dims,) float32.
    by
        The way by whose labels it is known: all together, or one.
    agreement
        (n_cells,) the share of the pairs of ways that give a cell, less the shift, the same label.
    agreement_without
        The mean of the same over the cells as they are.
    overturned
        The share of the cells to which all ways give one label as they are, and all give another
        one less the shift.
    """

    of: Mapping[str, NDArray[np.float32]]
    by: str
    agreement: NDArray[np.float64]
    agreement_without: float
    overturned: float

    @property
    def is_credible(self) -> bool:
        """Whether ways agree on as many cells or more, and seldom on another label than before.

        A query of one kind of cells can be moved as a whole onto the cells of another kind: then
        all ways agree, and all are wrong. But they had agreed before, on another label.
        """
        gain = float(self.agreement.mean()) - self.agreement_without
        return gain >= 0 and self.overturned <= max(gain / _GAINED_EACH, _FEW)


def find_shift(sights: Mapping[str, Sight], together: str) -> Shift:
    """Find the shift of the cells to be named: see `shifts_by_each` and `choose_shift`.

    Parameters
    ----------
    sights
        Way → what it sees.
    together
        What all ways together are called.
    """
    return choose_shift(shifts_by_each(sights, together), together)


def choose_shift(found: Mapping[str, Shift], together: str) -> Shift:
    """Choose the shift that is relied on.

    Ways that see cells differently agree where they are right. So of the shifts that are credible,
    that by the labels of all ways together is relied on, unless the ways agree more less one that
    is by the labels of one of them, by over two standard errors. If none is credible, it is the one
    that overturns the fewest labels.

    Parameters
    ----------
    found
        By whose labels → the shift.
    together
        What all ways together are called.
    """
    credible = {by: each for by, each in found.items() if each.is_credible}
    if not credible:
        return min(found.values(), key=lambda each: each.overturned)
    best = max(credible.values(), key=lambda each: float(each.agreement.mean()))
    usual = credible.get(together, best)
    return best if _is_clearly_more(best.agreement, usual.agreement) else usual


def shifts_by_each(sights: Mapping[str, Sight], together: str) -> dict[str, Shift]:
    """The shift by the labels that all ways give on average, and by those of each of them.

    Labels and shift are found in turns, until little changes; at most twenty times.

    Parameters
    ----------
    sights, together
        As `find_shift` has them.
    """
    plain = {way: each.say() for way, each in sights.items()}
    without = float(agreement_of(plain).mean())
    teachers = {together: tuple(sights), **{way: (way,) for way in sights}}
    found = {}
    for by, ways in teachers.items():
        labels = _settled([sights[way] for way in ways], [plain[way] for way in ways])
        of = {way: each.shift(labels) for way, each in sights.items()}
        said = {way: each.say(of[way]) for way, each in sights.items()}
        overturned = _overturned(plain, said)
        found[by] = Shift(of, by, agreement_of(said), without, overturned)
    return found


def _settled(sights: Sequence[Sight], plain: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What some ways say of cells, on average, less the shift by what they say."""
    said = _mean(plain)
    for _ in range(_MOST_ROUNDS):
        before, said = said, _mean([each.say(each.shift(said)) for each in sights])
        if np.abs(said - before).sum(axis=1).mean() / 2 < _LITTLE:
            break
    return said


def _overturned(plain: Said, said: Said) -> float:
    """The share of cells on whose label all ways agree, twice, and not on the same one."""
    one, other = (
        np.array([each.argmax(axis=1) for each in them.values()]) for them in (plain, said)
    )
    are_agreed = (one == one[0]).all(axis=0) & (other == other[0]).all(axis=0)
    return float((are_agreed & (one[0] != other[0])).mean())


def _mean(said: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.mean(said, axis=0), np.float32)


def _is_clearly_more(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    difference = one - other
    standard_error = difference.std() / np.sqrt(len(difference))
    return bool(difference.mean() > _STANDARD_ERRORS * standard_error)


def agreement_of(said: Said) -> NDArray[np.float64]:
    """(n_cells,) the share of the pairs of ways that give a cell the same label.

    Parameters
    ----------
    said
        Way → (n_cells, n_classes).
    """
    best = [each.argmax(axis=1) for each in said.values()]
    pairs = [one == other for one, other in combinations(best, 2)]
    return np.asarray(np.mean(pairs, axis=0), np.float64)


def length_of(shift: NDArray[np.float32], means: NDArray[np.float64]) -> float:
    """The length of a shift, where 1 is the middle distance between the means of two labels."""
    apart = [float(np.linalg.norm(one - other)) for one, other in combinations(means, 2)]
    middle = float(np.median(apart)) if apart else 0.0
    return float(np.linalg.norm(shift)) / middle if middle else 0.0
