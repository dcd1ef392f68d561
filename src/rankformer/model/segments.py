"""Which packed tokens attend to each other, and what a back end of attention is.

Shapes: T packed tokens, S segments (cells), H heads, K head size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from rankformer.model.device import move_to
from rankformer.model.padded_groups import PaddedGroups


@dataclass(frozen=True, eq=False)
class Segments:
    """Which packed tokens attend to each other: segment s has ``offsets[s]`` … ``offsets[s + 1]``.

    Attributes
    ----------
    offsets
        S + 1 numbers, each larger than the one before.
    offsets_S
        The same, int32 on the model's device, where the kernels read them.
    longest
        Tokens of the longest segment.
    """

    offsets: tuple[int, ...]
    offsets_S: Tensor
    longest: int

    @classmethod
    def between(cls, offsets: Sequence[int], device: torch.device | str = "cpu") -> "Segments":
        """Segments between places in ascending order; empty ones are left out."""
        places = tuple(dict.fromkeys(offsets))
        on_device = move_to(torch.tensor(places, dtype=torch.int32), device)
        return cls(places, on_device, max((b - a for a, b in pairwise(places)), default=0))

    @cached_property
    def padded_groups(self) -> PaddedGroups:
        """For back ends that pad: made once for all layers."""
        return PaddedGroups.of_cells(self.offsets, self.offsets_S.device)


Backend = Callable[[Tensor, Tensor, Tensor, Segments, float], Tensor]
"""Mixes the values of each segment's tokens: of query, key and value (T, H, K), segments, and
dropout, it makes (T, H, K)."""
