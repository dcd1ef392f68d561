"""Attention as plain products of some queries at a time, for CPUs whose products are fast.

torch's attention on CPUs runs at little more than a third of the rate of its products where those
use AMX. Written as products, attention takes their rate, at the price of scores that are rounded
to the dtype of the inputs. benchmarks/cpu_attention.py has the rates of all ways.

Shapes: T packed tokens, H heads, K head size; L tokens of one cell, Q queries of a block.
"""

from itertools import pairwise

import torch
from torch import Tensor

from rankformer.model.segments import Segments

# The scores of a block, for all heads of a published model, stay within the second cache.
_BLOCK_QUERIES = 128


def attend_blocked(
    query_THK: Tensor,
    key_THK: Tensor,
    value_THK: Tensor,
    segments: Segments,
    dropout: float,  # noqa: ARG001  # a back end like the others; made for inference, it has none
) -> Tensor:
    """As `rankformer.model.attention.attend`; no gradients pass."""
    mixed_THK = torch.empty(query_THK.shape, dtype=query_THK.dtype)
    scale = query_THK.shape[-1] ** -0.5
    for start, stop in pairwise(segments.offsets):
        query_HLK = (query_THK[start:stop] * scale).transpose(0, 1).contiguous()
        key_HKL = key_THK[start:stop].permute(1, 2, 0).contiguous()
        value_HLK = value_THK[start:stop].transpose(0, 1).contiguous()
        for first in range(0, stop - start, _BLOCK_QUERIES):
            query_HQK = query_HLK[:, first : first + _BLOCK_QUERIES]
            weights_HQL = torch.bmm(query_HQK, key_HKL).softmax(-1)
            mixed_HQK = torch.bmm(weights_HQL, value_HLK)
            mixed_THK[start + first : start + first + mixed_HQK.shape[1]] = mixed_HQK.transpose(
                0, 1
            )
    return mixed_THK
