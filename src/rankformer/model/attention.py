"""Attention of each cell's tokens to each other, on packed tokens.

Shapes: T packed tokens, C cells, L tokens of one cell, H heads, K head size.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def attend(
    query_THK: Tensor, key_THK: Tensor, value_THK: Tensor, offsets: Sequence[int], dropout: float
) -> Tensor:
    """Mix the values of each cell's tokens; returns (T, H, K).

    Cell c has the tokens ``offsets[c]`` … ``offsets[c + 1]``. The kernel is torch's own choice for
    the device and dtype (flash on CPU and CUDA), called a cell at a time, so that no padding is
    computed and no cell's result depends on its neighbours in the batch.
    """
    mixed = []
    for start, stop in pairwise(offsets):
        if start == stop:
            continue
        query, key, value = (
            each[start:stop].transpose(0, 1).unsqueeze(0)
            for each in (query_THK, key_THK, value_THK)
        )
        mixed_HLK = scaled_dot_product_attention(query, key, value, dropout_p=dropout)[0]
        mixed.append(mixed_HLK.transpose(0, 1))
    return torch.cat(mixed)


def attention_weights(query_THK: Tensor, key_THK: Tensor, offsets: Sequence[int]) -> list[Tensor]:
    """The softmax weights of each cell, (H, L, L) float32: rows attend, columns are attended to."""
    weights = []
    for start, stop in pairwise(offsets):
        query_HLK = query_THK[start:stop].transpose(0, 1).float()
        key_HKL = key_THK[start:stop].permute(1, 2, 0).float()
        scores_HLL = query_HLK @ key_HKL / query_THK.shape[-1] ** 0.5
        weights.append(scores_HLL.softmax(dim=-1))
    return weights
