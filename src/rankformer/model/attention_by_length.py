"""Attention of cells of about the same length in one call of torch's attention, padded.

For devices with fast kernels for padded rows, and none for packed ones.

Shapes: T packed tokens, H heads, K head size; C cells of a group, L tokens that they are padded to.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rankformer.model.segments import Segments


def attend_by_length(
    query_THK: Tensor, key_THK: Tensor, value_THK: Tensor, segments: Segments, dropout: float
) -> Tensor:
    """See `rankformer.model.segments.Backend`."""
    groups = segments.padded_groups
    sizes = [n_cells * length for n_cells, length, _ in groups.shapes]
    padded = (
        torch.split(each.index_select(0, groups.places_P), sizes)
        for each in (query_THK, key_THK, value_THK)
    )
    mixed = []
    for shape, inside, *given in zip(
        groups.shapes, torch.split(groups.inside_P, sizes), *padded, strict=True
    ):
        n_cells, length, is_padded = shape
        query, key, value = (each.unflatten(0, (n_cells, length)).transpose(1, 2) for each in given)
        mask_C11L = inside.view(n_cells, 1, 1, length) if is_padded else None
        mixed_CHLK = scaled_dot_product_attention(
            query, key, value, attn_mask=mask_C11L, dropout_p=dropout
        )
        mixed.append(mixed_CHLK.transpose(1, 2).flatten(0, 1))
    return torch.cat(mixed).index_select(0, groups.places_T)
