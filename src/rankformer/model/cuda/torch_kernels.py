"""Variable-length attention with dropout by kernels that every build of torch for CUDA has.

torch's nested tensors compute by these two. They are called directly here, because making nested
tensors costs the host more time than a step with short cells has. On ``meta`` devices they run
without a card.

Shapes: T packed tokens, H heads, K head size, S segments.
"""

import torch
from torch import Tensor


def attend_by_flash(  # as the packages of flash kernels have it
    query_THK: Tensor,
    key_THK: Tensor,
    value_THK: Tensor,
    cu_seq_q: Tensor,
    max_q: int,
    dropout_p: float,
) -> Tensor:
    """FlashAttention-2: (T, H, K), of offsets (S + 1,) int32 and the longest segment."""
    mixed: Tensor = torch.ops.aten._flash_attention_forward(
        query_THK, key_THK, value_THK, cu_seq_q, cu_seq_q, max_q, max_q, dropout_p,
        False, False,
    )[0]  # fmt: skip
    return mixed


def attend_saving_memory(  # as the packages of flash kernels have it
    query_THK: Tensor,
    key_THK: Tensor,
    value_THK: Tensor,
    cu_seq_q: Tensor,
    max_q: int,
    dropout_p: float,
) -> Tensor:
    """The same by the kernels that torch calls memory-efficient, which know float32 too."""
    given = query_THK, key_THK, value_THK
    has_gradients = torch.is_grad_enabled() and any(each.requires_grad for each in given)
    no_mask = 0
    mixed: Tensor = torch.ops.aten._efficient_attention_forward(
        *(each.unsqueeze(0) for each in given), None, cu_seq_q, cu_seq_q, max_q, max_q,
        dropout_p, no_mask, has_gradients,
    )[0]  # fmt: skip
    return mixed.squeeze(0)
