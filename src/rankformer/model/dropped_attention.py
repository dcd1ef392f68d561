"""Attention with dropout on CPUs, for training: a cell at a time, with gradients.

torch has no kernel for it there: it keeps the weights, the mask and their product of all cells for
the backward pass, which of a batch of long cells is gigabytes. Here the weights of short cells are
kept, and those of long ones are computed again, in blocks that stay in the processor's cache.

Shapes: T packed tokens, H heads, K head size; L tokens of one cell, of which R are in a block.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from rankformer.model.dropout import draw_dropped, scale_of_kept
from rankformer.model.segments import Segments

# Weights of a block, and of a cell that are kept.
_BLOCK, _KEPT = 2**19, 2**22
Block = tuple[slice, slice]
"""Heads, and queries."""


def attend_dropped(
    query_THK: Tensor, key_THK: Tensor, value_THK: Tensor, segments: Segments, dropout: float
) -> Tensor:
    """See `rankformer.model.segments.Backend`; sums and weights are of float32 at least."""
    dtype = query_THK.dtype
    exact = torch.promote_types(dtype, torch.float32)
    # Within autocast, its products would be of bfloat16 again.
    with torch.autocast("cpu", enabled=False):
        given = (each.to(exact) for each in (query_THK, key_THK, value_THK))
        mixed_THK: Tensor = _MixDropped.apply(  # type: ignore[no-untyped-call]
            *given, segments.offsets, dropout
        )
        return mixed_THK.to(dtype)


class _MixDropped(Function):
    """The backward pass draws the masks of cells that were not kept again, in the same order."""

    @staticmethod
    def forward(
        ctx: Any,
        query_THK: Tensor,
        key_THK: Tensor,
        value_THK: Tensor,
        offsets: tuple[int, ...],
        dropout: float,
    ) -> Tensor:
        ctx.states = []
        n_heads = query_THK.shape[1]
        mixed_THK = torch.empty_like(query_THK, memory_format=torch.contiguous_format)
        kept: list[Tensor] = []
        for cell in pairwise(offsets):
            query, key, value, mixed = _of_cell(cell, query_THK, key_THK, value_THK, mixed_THK)
            length = cell[1] - cell[0]
            keeps = _keeps(n_heads, length)
            if not keeps:
                ctx.states.append(torch.get_rng_state())
            for heads, rows in _blocks(n_heads, length):
                weights_HRL = _weigh(query[heads, rows], key[heads])
                dropped_HRL = draw_dropped(weights_HRL.shape, dropout)
                if keeps:
                    kept += [weights_HRL, dropped_HRL]
                left_HRL = _leave(weights_HRL, dropped_HRL, in_place=not keeps)
                mixed[heads, rows] = (left_HRL @ value[heads]).mul_(scale_of_kept(dropout))
        ctx.save_for_backward(query_THK, key_THK, value_THK, mixed_THK, *kept)
        ctx.offsets, ctx.dropout = offsets, dropout
        return mixed_THK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_THK: Tensor) -> tuple[Tensor | None, ...]:
        query_THK, key_THK, value_THK, mixed_THK, *kept = ctx.saved_tensors
        n_heads, head_size = query_THK.shape[1:]
        scale, of_kept = head_size**-0.5, scale_of_kept(ctx.dropout)
        generator = torch.Generator()
        again, states = iter(kept), iter(ctx.states)
        along_TH1 = (gradient_THK * mixed_THK).sum(dim=-1, keepdim=True)
        of_query, of_key, of_value = (
            torch.zeros_like(each, memory_format=torch.contiguous_format)
            for each in (query_THK, key_THK, value_THK)
        )
        given = query_THK, key_THK, value_THK, gradient_THK * of_kept, along_TH1
        for cell in pairwise(ctx.offsets):
            query, key, value, gradient, along = _of_cell(cell, *given)
            own_query, own_key, own_value = _of_cell(cell, of_query, of_key, of_value)
            length = cell[1] - cell[0]
            keeps = _keeps(n_heads, length)
            if not keeps:
                generator.set_state(next(states))
            for heads, rows in _blocks(n_heads, length):
                if keeps:
                    weights_HRL, dropped_HRL = next(again), next(again)
                else:
                    weights_HRL = _weigh(query[heads, rows], key[heads])
                    dropped_HRL = draw_dropped(weights_HRL.shape, ctx.dropout, generator)
                of_scores_HRL = gradient[heads, rows] @ value[heads].mT
                of_scores_HRL = of_scores_HRL.masked_fill_(dropped_HRL, 0)
                of_scores_HRL = of_scores_HRL.sub_(along[heads, rows]).mul_(weights_HRL)
                left_HRL = _leave(weights_HRL, dropped_HRL, in_place=not keeps)
                own_query[heads, rows] = (of_scores_HRL @ key[heads]).mul_(scale)
                own_key[heads] += (of_scores_HRL.mT @ query[heads, rows]).mul_(scale)
                own_value[heads] += left_HRL.mT @ gradient[heads, rows]
        return of_query, of_key, of_value, None, None


def _of_cell(cell: tuple[int, int], *packed: Tensor) -> Iterator[Tensor]:
    """(H, L, …) of one cell, of packed (T, H, …): views."""
    return (each[cell[0] : cell[1]].transpose(0, 1) for each in packed)


def _keeps(n_heads: int, length: int) -> bool:
    return n_heads * length**2 <= _KEPT


def _blocks(n_heads: int, length: int) -> Iterator[Block]:
    """All heads and queries at once where weights are kept; else some heads, or rows of one."""
    if _keeps(n_heads, length):
        yield slice(None), slice(None)
        return
    n_rows = max(min(length, _BLOCK // length), 1)
    n_at_once = max(_BLOCK // length**2, 1)
    for head in range(0, n_heads, n_at_once):
        for row in range(0, length, n_rows):
            yield slice(head, head + n_at_once), slice(row, row + n_rows)


def _weigh(query_HRK: Tensor, key_HLK: Tensor) -> Tensor:
    """The softmax weights (H, R, L)."""
    scale: float = query_HRK.shape[-1] ** -0.5
    scores_HRL = (query_HRK * scale) @ key_HLK.mT
    return scores_HRL.softmax(dim=-1)


def _leave(weights_HRL: Tensor, dropped_HRL: Tensor, *, in_place: bool) -> Tensor:
    """The weights that are not dropped."""
    if in_place:
        return weights_HRL.masked_fill_(dropped_HRL, 0)
    return weights_HRL.masked_fill(dropped_HRL, 0)
