"""How the cells to be named differ from labelled ones as a whole, and whether that is removed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ShiftChoice:
    """Whether cells are named less their shift, and what speaks for it.

    Attributes
    ----------
    taken_away
        Whether they are.
    agreement_with
        How often two ways give a cell the same label, less its shift; the mean over pairs of ways.
    agreement_without
        The same with the cells as they are.
    length
        How large the shift is among the principal components, where 1 is the middle distance
        between the means of two labels of the reference.
    """

    taken_away: bool
    agreement_with: float
    agreement_without: float
    length: float

    def plain(self) -> dict[str, Any]:
        """As provenance has it."""
        return {
            name: round(each, 4) if isinstance(each, float) else each
            for name, each in asdict(self).items()
        }


def shift_of(
    points: NDArray[np.float32],
    said: NDArray[np.float32],
    labelled: NDArray[np.float32],
    codes: NDArray[np.int32],
) -> NDArray[np.float32]:
    """How points lie, as a whole, beside labelled points of the labels that they seem to have.

    Their mean, less the mean of the labelled points in which each label has the share that it has
    among the points. So it is not taken for a shift that a label is rarer in one of the two.

    Parameters
    ----------
    points
        (n, n_dims) of the cells to be named.
    said
        (n, n_classes) their probabilities.
    labelled, codes
        (n_labelled, n_dims) and (n_labelled,).

    Returns
    -------
    (n_dims,) float32.
    """
    shares = said.mean(axis=0, dtype=np.float64)
    mean = np.zeros(points.shape[1])
    for code in np.unique(codes):
        mean += shares[code] * labelled[codes == code].mean(axis=0, dtype=np.float64)
    total = shares[np.unique(codes)].sum()
    return np.asarray(points.mean(axis=0, dtype=np.float64) - mean / total, np.float32)


def agreement_of(said: Mapping[str, NDArray[np.float32]]) -> float:
    """How often two ways give a cell the same label, over pairs of ways; each (n, n_classes)."""
    best = [each.argmax(axis=1) for each in said.values()]
    return float(np.mean([(one == other).mean() for one, other in combinations(best, 2)]))


def length_of(
    shift: NDArray[np.float32], labelled: NDArray[np.float32], codes: NDArray[np.int32]
) -> float:
    """The length of a shift, where 1 is the middle distance between the means of two labels."""
    means = [labelled[codes == code].mean(axis=0) for code in np.unique(codes)]
    apart = [float(np.linalg.norm(one - other)) for one, other in combinations(means, 2)]
    middle = float(np.median(apart)) if apart else 0.0
    return float(np.linalg.norm(shift)) / middle if middle else 0.0
