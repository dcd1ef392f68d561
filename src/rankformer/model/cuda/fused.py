"""The operations of an encoder in fewer passes over memory, by the kernels of this folder.

What a kernel does not take, such as a layer that was replaced by another, is computed plainly.
Importing this imports Triton.

Shapes: T tokens, D hidden, F feed-forward, C cells, P programs of a kernel.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from rankformer.model import operations
from rankformer.model.cuda import kernels
from rankformer.model.device import move_to
from rankformer.model.operations import EmbeddingParts, Operations

# Numbers of a tile: as many as stay in the registers of a few warps.
_TILE = 4096
_MEAN_ROWS, _MEAN_COLUMNS = 16, 128
_PROGRAMS_OF_A_PROCESSOR = 4


def embed(parts: EmbeddingParts, tokens_T: Tensor, positions_T: Tensor) -> Tensor:
    """Token + position + type 0, normalised; with gradients, the norm and the last sum in one."""
    tables = parts.token.weight, parts.position.weight, parts.token_type.weight
    if torch.is_grad_enabled():
        hidden_TD = parts.token(tokens_T) + parts.token_type.weight[0]
        return add_norm(parts.position(positions_T), hidden_TD, parts.norm, 0.0)
    norm = parts.norm
    if not _is_plain_norm(norm):
        return operations.embed(parts, tokens_T, positions_T)
    width = norm.normalized_shape[0]
    columns, n_rows = _tile(width)
    out_TD = torch.empty(len(tokens_T), width, dtype=_dtype_out(tables[0]), device=tokens_T.device)
    if len(tokens_T):
        with _on(tokens_T.device):
            kernels.embed_norm_rows[(triton.cdiv(len(tokens_T), n_rows),)](
                tokens_T.contiguous(), positions_T.contiguous(), *tables, norm.weight, norm.bias,
                out_TD, len(tokens_T), norm.eps, width, columns, n_rows,
            )  # fmt: skip
    return out_TD


def add_norm(update_TD: Tensor, hidden_TD: Tensor, norm: nn.Module, dropout: float) -> Tensor:
    """The norm of a sum, of which numbers of the update may be dropped."""
    if not isinstance(norm, nn.LayerNorm) or not _is_plain_norm(norm):
        return operations.add_norm(update_TD, hidden_TD, norm, dropout)
    given = update_TD, hidden_TD, norm.weight, norm.bias
    # Within a Function, gradients are off, and which inputs want them is said even where none pass.
    keeps = torch.is_grad_enabled() and any(each.requires_grad for each in given)
    out_TD: Tensor = _AddNorm.apply(  # type: ignore[no-untyped-call]
        *given, _Norming(norm.eps, _dtype_out(update_TD), keeps, dropout)
    )
    return out_TD


def expand(linear: nn.Module, hidden_TD: Tensor, activation: str) -> Tensor:
    """A linear layer with bias and ReLU in the end of the product."""
    if type(linear) is not nn.Linear or linear.bias is None or activation != "relu":
        return operations.expand(linear, hidden_TD, activation)
    kind, dtype = hidden_TD.device.type, hidden_TD.dtype
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    given = (each.to(dtype) for each in (hidden_TD, linear.weight, linear.bias))
    expanded_TF: Tensor = _ExpandRelu.apply(*given)  # type: ignore[no-untyped-call]
    return expanded_TF


def mean_of_places(
    hidden_TD: Tensor, places: NDArray[np.int64], offsets: NDArray[np.int64]
) -> Tensor:
    """The mean of each cell's hidden states, read as they are stored."""
    n_cells, width = len(offsets) - 1, hidden_TD.shape[1]
    out_CD = torch.empty(n_cells, width, dtype=torch.float32, device=hidden_TD.device)
    on_device = [move_to(torch.from_numpy(each), hidden_TD.device) for each in (places, offsets)]
    if n_cells:
        with _on(hidden_TD.device):
            kernels.mean_rows[(n_cells, triton.cdiv(width, _MEAN_COLUMNS))](
                hidden_TD.contiguous(), *on_device, out_CD, width, _MEAN_COLUMNS, _MEAN_ROWS
            )
    return out_CD


class _Norming(NamedTuple):
    """How a sum is normed: with which constant, in which dtype, kept for gradients or not."""

    eps: float
    dtype: torch.dtype
    keeps: bool
    dropout: float = 0.0


class _ExpandRelu(Function):
    """A linear layer and ReLU, whose gradient follows from its output."""

    @staticmethod
    def forward(ctx: Any, hidden_TD: Tensor, weight_FD: Tensor, bias_F: Tensor) -> Tensor:
        # torch has no public name for a product with ReLU in its end.
        out_TF = torch._addmm_activation(bias_F, hidden_TD, weight_FD.t())
        ctx.save_for_backward(hidden_TD, weight_FD, out_TF)
        return out_TF

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_TF: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TD, weight_FD, out_TF = ctx.saved_tensors
        of_hidden, of_weight, of_bias = ctx.needs_input_grad
        # As torch's ReLU does, in one pass.
        inner_TF = torch.ops.aten.threshold_backward(gradient_TF, out_TF, 0)
        return (
            inner_TF @ weight_FD if of_hidden else None,
            inner_TF.t() @ hidden_TD if of_weight else None,
            inner_TF.sum(dim=0) if of_bias else None,
        )


class _AddNorm(Function):
    """The norm of a sum, whose backward pass is one kernel too.

    What was dropped is not kept: the backward pass draws it again from the same seed.
    """

    @staticmethod
    def forward(
        ctx: Any,
        update_TD: Tensor,
        hidden_TD: Tensor,
        weight_D: Tensor,
        bias_D: Tensor,
        how: _Norming,
    ) -> Tensor:
        eps, dtype, keeps, dropout = how
        update_TD, hidden_TD = update_TD.contiguous(), hidden_TD.contiguous()
        n_tokens, width = update_TD.shape
        columns, n_rows = _tile(width)
        out_TD = torch.empty_like(update_TD, dtype=dtype)
        # Stored as the plain sum is. Kernels that keep nothing are given something to write to.
        summed_TD = torch.empty_like(update_TD) if keeps else out_TD
        means_T, scales_T = (
            update_TD.new_empty(n_tokens if keeps else 0, dtype=torch.float32) for _ in range(2)
        )
        seed = _draw_seed() if dropout else 0
        if n_tokens:
            with _on(update_TD.device):
                kernels.add_norm_rows[(triton.cdiv(n_tokens, n_rows),)](
                    update_TD, hidden_TD, weight_D, bias_D, out_TD, summed_TD, means_T, scales_T,
                    n_tokens, eps, seed, dropout, width, columns, n_rows, keeps, dropout > 0,
                )  # fmt: skip
        if keeps:
            ctx.save_for_backward(summed_TD, means_T, scales_T, weight_D)
            ctx.drawn = seed, dropout
            ctx.dtypes = update_TD.dtype, hidden_TD.dtype, bias_D.dtype
        return out_TD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_TD: Tensor) -> tuple[Tensor | None, ...]:
        summed_TD, means_T, scales_T, weight_D = ctx.saved_tensors
        of_update, of_hidden, of_bias = ctx.dtypes
        n_tokens, width = summed_TD.shape
        columns, n_rows = _tile(width)
        n_tiles = triton.cdiv(n_tokens, n_rows)
        n_programs = max(min(n_tiles, _most_programs(summed_TD.device)), 1)
        seed, dropout = ctx.drawn
        of_sum_TD = torch.empty_like(summed_TD, dtype=torch.promote_types(of_update, of_hidden))
        of_update_TD = torch.empty_like(summed_TD, dtype=of_update) if dropout else of_sum_TD
        of_norm_2PD = summed_TD.new_zeros(2, n_programs, width, dtype=torch.float32)
        if n_tokens:
            with _on(summed_TD.device):
                kernels.add_norm_gradients[(n_programs,)](
                    gradient_TD.contiguous(), summed_TD, means_T, scales_T, weight_D, of_sum_TD,
                    of_update_TD, *of_norm_2PD, n_tokens, n_tiles, seed, dropout, width, columns,
                    n_rows, dropout > 0,
                )  # fmt: skip
        of_weight_D, of_bias_D = of_norm_2PD.sum(dim=1)
        return (
            of_update_TD.to(of_update), of_sum_TD.to(of_hidden), of_weight_D.to(weight_D.dtype),
            of_bias_D.to(of_bias), None,
        )  # fmt: skip


def _draw_seed() -> int:
    """From torch's generator of the host, whose numbers no device waits for; always of 63 bits."""
    return 2**62 + int(torch.randint(2**62, ()))


def _is_plain_norm(norm: nn.LayerNorm) -> bool:
    """Over one dimension, with weight and bias."""
    return len(norm.normalized_shape) == 1 and norm.weight is not None and norm.bias is not None


def _dtype_out(tensor: Tensor) -> torch.dtype:
    """What torch's layer norm gives: within autocast on CUDA float32, else what it is given."""
    is_mixed = tensor.device.type == "cuda" and torch.is_autocast_enabled("cuda")
    return torch.float32 if is_mixed else tensor.dtype


def _tile(width: int) -> tuple[int, int]:
    """Columns and rows of a tile of whole rows."""
    columns = triton.next_power_of_2(width)
    return columns, max(_TILE // columns, 1)


@cache
def _most_programs(device: torch.device) -> int:
    """As many as run at once."""
    if device.type != "cuda":
        return _PROGRAMS_OF_A_PROCESSOR
    n_processors: int = torch.cuda.get_device_properties(device).multi_processor_count
    return _PROGRAMS_OF_A_PROCESSOR * n_processors


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Kernels are started on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


FUSED = Operations(
    f"fused kernels of Triton {triton.__version__}", embed, add_norm, expand, mean_of_places
)
