"""Rows of unequal length, as data and model hand them to each other: values and offsets."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ragged = tuple[NDArray[np.int32], NDArray[np.int64]]
"""``values`` (n_values,) of all rows end to end; ``offsets`` (n_rows + 1,) where each begins."""


def join_ragged(parts: Sequence[Ragged]) -> Ragged:
    """The rows of all parts, end to end."""
    lengths = [np.empty(0, np.int64), *(np.diff(offsets) for _, offsets in parts)]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return np.concatenate([np.empty(0, np.int32), *(values for values, _ in parts)]), offsets


def select_rows(ragged: Ragged, rows: NDArray[np.int64]) -> Ragged:
    """Some of the rows, in the order given."""
    values, offsets = ragged
    lengths = np.diff(offsets)[rows]
    own = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(own[-1]) + np.repeat(offsets[:-1][rows] - own[:-1], lengths)
    return values[places], own
