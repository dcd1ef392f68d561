"""Cells that are padded to one length: which, and where their tokens are.

How far a cell is padded follows from its own length alone, so its result does not depend on its
neighbours.

Shapes: T packed tokens; C cells of a group, L tokens that they are padded to, P padded tokens of
all groups.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankformer.model.device import move_to

_LEAST_STEP = 16
# Lengths between two powers of two are padded to one of so many.
_STEPS_AN_OCTAVE = 8


@dataclass(frozen=True)
class PaddedGroups:
    """Cells in groups of one padded length each.

    Attributes
    ----------
    shapes
        Of each group: C, L, and whether there is padding.
    places_P
        int64 on the device: the packed token at each padded place; a cell's last one in padding.
    inside_P
        bool on the device: whether it is no padding.
    places_T
        int64 on the device: where each packed token is among the padded ones.
    """

    shapes: tuple[tuple[int, int, bool], ...]
    places_P: Tensor
    inside_P: Tensor
    places_T: Tensor

    @classmethod
    def of_cells(cls, offsets: tuple[int, ...], device: torch.device) -> "PaddedGroups":
        """Group the cells between offsets."""
        starts, lengths = np.array(offsets[:-1]), np.diff(offsets)
        padded = _pad_lengths(lengths)
        shapes, places, inside = [], [], []
        kinds = {
            (int(length), bool(length > own)) for length, own in zip(padded, lengths, strict=True)
        }
        for length, is_padded in sorted(kinds):
            own = (padded == length) & ((padded > lengths) == is_padded)
            within_L = np.arange(length)
            last_C1 = lengths[own, None] - 1
            places.append((starts[own, None] + np.minimum(within_L, last_C1)).ravel())
            inside.append((within_L <= last_C1).ravel())
            shapes.append((int(own.sum()), length, is_padded))
        places_P, inside_P = np.concatenate(places), np.concatenate(inside)
        places_T = np.empty(offsets[-1] - offsets[0], dtype=np.int64)
        places_T[places_P[inside_P] - offsets[0]] = np.flatnonzero(inside_P)
        arrays = (places_P, inside_P, places_T)
        return cls(tuple(shapes), *(move_to(torch.from_numpy(each), device) for each in arrays))


def _pad_lengths(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    octaves = 2 ** np.ceil(np.log2(lengths)).astype(np.int64)
    steps = np.maximum(octaves // (2 * _STEPS_AN_OCTAVE), _LEAST_STEP)
    return -(-lengths // steps) * steps
