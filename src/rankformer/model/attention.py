"""Attention of each cell's tokens to each other, on packed tokens.

Shapes: T packed tokens, S segments (cells), L tokens of one cell, H heads, K head size.
"""

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rankformer.model.transfer import move_to

logger = logging.getLogger(__name__)
# What the flash kernels compute in.
_HALF_DTYPES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, eq=False)
class Segments:
    """Which packed tokens attend to each other: segment s has ``offsets[s]`` … ``offsets[s + 1]``.

    Attributes
    ----------
    offsets
        S + 1 numbers, each larger than the one before.
    offsets_S
        The same, int32 on the model's device, where the kernels read them.
    longest
        Tokens of the longest segment.
    """

    offsets: tuple[int, ...]
    offsets_S: Tensor
    longest: int

    @classmethod
    def between(cls, offsets: Sequence[int], device: torch.device | str = "cpu") -> "Segments":
        """Segments between places in ascending order; empty ones are left out."""
        places = tuple(dict.fromkeys(offsets))
        on_device = move_to(torch.tensor(places, dtype=torch.int32), device)
        return cls(places, on_device, max((b - a for a, b in pairwise(places)), default=0))


Backend = Callable[[Tensor, Tensor, Tensor, Segments, float], Tensor]


def attend(
    query_THK: Tensor, key_THK: Tensor, value_THK: Tensor, segments: Segments, dropout: float
) -> Tensor:
    """Mix the values of each segment's tokens; returns (T, H, K).

    No padding is computed, and no cell's result depends on its neighbours in the batch.
    """
    run = choose_backend(query_THK.device, query_THK.dtype, has_dropout=dropout > 0)
    return run(query_THK, key_THK, value_THK, segments, dropout)


@cache
def choose_backend(device: torch.device, dtype: torch.dtype, *, has_dropout: bool) -> Backend:
    """The fastest back end that computes this: chosen at first use, and said in the log.

    On CUDA devices of compute capability 8.0 and up, in half precision: torch's variable-length
    attention (torch 2.10 and up), which knows no dropout; else flash-attn where it is installed.
    Everywhere else, torch's attention a cell at a time.
    """
    chosen = _fused_backend(device, dtype, has_dropout=has_dropout) or attend_each
    # Elsewhere there is no choice that could surprise.
    level = logging.INFO if device.type == "cuda" else logging.DEBUG
    logger.log(level, "Attention on %s in %s: %s.", device, str(dtype)[6:], _NAMES[chosen])
    return chosen


def _fused_backend(
    device: torch.device, dtype: torch.dtype, *, has_dropout: bool
) -> Backend | None:
    if device.type != "cuda" or dtype not in _HALF_DTYPES:
        return None
    if torch.cuda.get_device_capability(device) < (8, 0):
        return None
    if _torch_varlen() and not has_dropout:
        return attend_varlen
    return attend_flash if _flash_attn() else None


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


def attend_varlen(
    query_THK: Tensor,
    key_THK: Tensor,
    value_THK: Tensor,
    segments: Segments,
    dropout: float,  # noqa: ARG001  # choose_backend calls it with none
) -> Tensor:
    """All cells in one call of torch's variable-length attention."""
    function = _torch_varlen()
    assert function is not None  # noqa: S101  # else choose_backend chooses another
    offsets_S, longest = segments.offsets_S, segments.longest
    return function(query_THK, key_THK, value_THK, offsets_S, offsets_S, longest, longest)


def attend_flash(
    query_THK: Tensor, key_THK: Tensor, value_THK: Tensor, segments: Segments, dropout: float
) -> Tensor:
    """All cells in one call of the flash-attn package."""
    function = _flash_attn()
    assert function is not None  # noqa: S101  # else choose_backend chooses another
    offsets_S, longest = segments.offsets_S, segments.longest
    return function(
        query_THK, key_THK, value_THK, offsets_S, offsets_S, longest, longest, dropout_p=dropout
    )


_NAMES: dict[Backend, str] = {
    attend_each: "torch's, a cell at a time",
    attend_varlen: "torch's variable-length attention",
    attend_flash: "flash-attn",
}


@cache
def _torch_varlen() -> Callable[..., Tensor] | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    # Unsplit keys, where it can be said: then no cell's last digits depend on the other cells.
    unsplit = "num_splits" in inspect.signature(varlen_attn).parameters
    function: Callable[..., Any] = varlen_attn
    return partial(function, num_splits=1) if unsplit else function


@cache
def _flash_attn() -> Callable[..., Tensor] | None:
    try:
        from flash_attn import flash_attn_varlen_func
    # A build for another torch fails with whatever its libraries say.
    except Exception:
        return None
    function: Callable[..., Tensor] = flash_attn_varlen_func
    return function


def attention_weights(query_THK: Tensor, key_THK: Tensor, offsets: Sequence[int]) -> list[Tensor]:
    """The softmax weights of each cell, (H, L, L) float32: rows attend, columns are attended to."""
    weights = []
    for start, stop in pairwise(offsets):
        query_HLK = query_THK[start:stop].transpose(0, 1).float()
        key_HKL = key_THK[start:stop].permute(1, 2, 0).float()
        scores_HLL = query_HLK @ key_HKL / query_THK.shape[-1] ** 0.5
        weights.append(scores_HLL.softmax(dim=-1))
    return weights
