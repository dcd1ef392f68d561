"""Attention a cell at a time, which runs anywhere.

Shapes: T packed tokens, H heads, K head size, L tokens of one cell.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rankformer.model.segments import Segments


def attend_each(
    query_THK: Tensor, key_THK: Tensor, value_THK: Tensor, segments: Segments, dropout: float
) -> Tensor:
    """A cell at a time, by torch's own choice for the device and dtype (flash on CPU)."""
    lengths = [stop - start for start, stop in pairwise(segments.offsets)]
    # Split, not sliced: backward through a slice makes zeros of all tokens, for each cell anew.
    parts = (torch.split(each, lengths) for each in (query_THK, key_THK, value_THK))
    mixed = []
    for cell in zip(*parts, strict=True):
        query, key, value = (each.transpose(0, 1).unsqueeze(0) for each in cell)
        mixed_HLK = scaled_dot_product_attention(query, key, value, dropout_p=dropout)[0]
        mixed.append(mixed_HLK.transpose(0, 1))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)
