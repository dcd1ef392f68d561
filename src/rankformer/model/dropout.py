"""Dropout on CPUs, where torch spends more time on random numbers than on what it drops.

torch draws a number for each element, one after the other. Here one draw of 64 bits serves four
elements, which takes a fraction of the time. All draws come from torch's generator, so that a seed,
or a state that was kept, repeats them.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

_LEVELS, _DRAWS_A_NUMBER = 2**16, 4


def drop(hidden: Tensor, share: float) -> Tensor:
    """Set each element to zero with the chance `share`, in place, and scale up the others.

    The chance is rounded to a multiple of 1/65,536, and the scale fits what it was rounded to.
    """
    dropped: Tensor = _Drop.apply(hidden, share)  # type: ignore[no-untyped-call]
    return dropped


def draw_dropped(
    shape: Sequence[int], share: float, generator: torch.Generator | None = None
) -> Tensor:
    """Which elements are dropped: bool."""
    n_elements = math.prod(shape)
    numbers = torch.empty(-(-n_elements // _DRAWS_A_NUMBER), dtype=torch.int64)
    numbers.random_(-(2**63), None, generator=generator)
    # Each of them is from -2^15 to 2^15 - 1.
    drawn = numbers.view(torch.int16)[:n_elements].view(*shape)
    return torch.lt(drawn, _n_dropped(share) - _LEVELS // 2)


def scale_of_kept(share: float) -> float:
    """What kept elements are multiplied by, so that the expected sum stays as it was."""
    return _LEVELS / (_LEVELS - _n_dropped(share))


def _n_dropped(share: float) -> int:
    """Of 65,536 equally likely draws; never all of them."""
    return min(round(share * _LEVELS), _LEVELS - 1)


class _Drop(Function):
    """Keeps a byte an element for the backward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, share: float) -> Tensor:
        dropped = draw_dropped(hidden.shape, share)
        ctx.mark_dirty(hidden)
        ctx.save_for_backward(dropped)
        ctx.scale = scale_of_kept(share)
        return hidden.masked_fill_(dropped, 0).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (dropped,) = ctx.saved_tensors
        return gradient.masked_fill(dropped, 0).mul_(ctx.scale), None
