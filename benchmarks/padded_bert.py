"""A stand-in for `transformers.BertForMaskedLM`, where that package is not installed.

The same arithmetic on the same weights, as most people run it: rows padded to the longest cell of a
batch and masked, query, key and value as three products, torch's attention, and the masked-LM head
at every place.

Shapes: B cells, L longest, H heads, K head size, D hidden, V vocabulary.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from rankformer import MaskedLanguageModel
    from rankformer.ragged import Ragged

NAME = "stand-in for BertForMaskedLM, padded"


def pad(ragged: Ragged, start: int, stop: int, device: str) -> Tensor:
    """(B, L) int64 tokens of the cells start … stop - 1; 0 behind each."""
    values, offsets = ragged
    bounds = pairwise(offsets[start : stop + 1].tolist())
    cells = [torch.from_numpy(values[a:b].astype(np.int64)) for a, b in bounds]
    return torch.nn.utils.rnn.pad_sequence(cells, batch_first=True).to(device)


def hidden_states(model: MaskedLanguageModel, tokens_BL: Tensor) -> Tensor:
    """(B, L, D) after the last layer."""
    encoder = model.encoder
    parts = encoder.embeddings
    positions_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
    hidden = parts.token(tokens_BL) + parts.token_type.weight[0] + parts.position(positions_L)
    share = parts.dropout if model.training else 0.0
    hidden = functional.dropout(parts.norm(hidden), share)
    mask = (tokens_BL != 0)[:, None, None, :]
    for layer in encoder.layers:
        weights, biases = layer.qkv.weight.chunk(3), layer.qkv.bias.chunk(3)
        query, key, value = (
            functional.linear(hidden, weight, bias)
            .unflatten(-1, (layer.n_heads, -1))
            .transpose(1, 2)
            for weight, bias in zip(weights, biases, strict=True)
        )
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask,
            dropout_p=layer.attention_dropout if model.training else 0.0,
        )  # fmt: skip
        attended = layer.attention_out(mixed.transpose(1, 2).flatten(2))
        attended = functional.dropout(attended, share)
        hidden = layer.attention_norm(attended + hidden)
        fed = layer.ffn_out(functional.relu(layer.ffn_in(hidden)))
        hidden = layer.ffn_norm(functional.dropout(fed, share) + hidden)
    return hidden


def logits(model: MaskedLanguageModel, hidden_BLD: Tensor) -> Tensor:
    """(B, L, V) at every place."""
    return model.score(hidden_BLD)
