"""Attention of each cell's tokens to each other, on packed tokens.

Shapes: T packed tokens, S segments (cells), L tokens of one cell, H heads, K head size.
"""

import logging
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from rankformer.model.attention_by_cell import attend_each
from rankformer.model.attention_by_length import attend_by_length
from rankformer.model.attention_trials import Situation, name_of, pick_backend
from rankformer.model.cuda.flash import installed_backends
from rankformer.model.dropped_attention import attend_dropped
from rankformer.model.segments import Backend, Segments

logger = logging.getLogger(__name__)
# Kernels of CUDA are made for heads of such sizes, as all published models have.
_HEAD_STEP, _LARGEST_HEAD = 8, 256


def attend(
    query_THK: Tensor, key_THK: Tensor, value_THK: Tensor, segments: Segments, dropout: float
) -> Tensor:
    """Mix the values of each segment's tokens; returns (T, H, K).

    No padding is attended to, and no cell's result depends on its neighbours in the batch.
    """
    head_size = query_THK.shape[-1]
    if query_THK.is_cuda and (head_size % _HEAD_STEP or head_size > _LARGEST_HEAD):
        return attend_each(query_THK, key_THK, value_THK, segments, dropout)
    run = choose_backend(
        query_THK.device, query_THK.dtype, has_dropout=dropout > 0,
        has_gradients=torch.is_grad_enabled() and query_THK.requires_grad,
    )  # fmt: skip
    return run(query_THK, key_THK, value_THK, segments, dropout)


@cache
def choose_backend(
    device: torch.device, dtype: torch.dtype, *, has_dropout: bool, has_gradients: bool
) -> Backend:
    """The back end that computes this: chosen at first use, and said in the log.

    On CUDA devices the first of `rankformer.model.cuda.flash.KINDS`, or else of torch's attention
    of padded cells and of single ones, that is there, right, and about as fast as any; see
    `pick_backend`. On CPUs torch's a cell at a time; with dropout `attend_dropped`.
    """
    situation = Situation(device, dtype, has_dropout=has_dropout, has_gradients=has_gradients)
    if device.type == "cuda":
        kinds = installed_backends(
            device, dtype, has_dropout=has_dropout, has_gradients=has_gradients
        )
        return pick_backend([*kinds, attend_by_length, attend_each], situation)
    chosen = attend_dropped if has_dropout and device.type == "cpu" else attend_each
    # Here there is no choice that could surprise.
    logger.debug("Attention on %s: %s.", situation, name_of(chosen))
    return chosen


def attention_weights(query_THK: Tensor, key_THK: Tensor, offsets: Sequence[int]) -> list[Tensor]:
    """The softmax weights of each cell, (H, L, L) float32: rows attend, columns are attended to."""
    weights = []
    for start, stop in pairwise(offsets):
        query_HLK = query_THK[start:stop].transpose(0, 1).float()
        key_HKL = key_THK[start:stop].permute(1, 2, 0).float()
        scores_HLL = query_HLK @ key_HKL / query_THK.shape[-1] ** 0.5
        weights.append(scores_HLL.softmax(dim=-1))
    return weights
