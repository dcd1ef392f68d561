"""Attention of each cell's tokens to each other, on packed tokens.

Shapes: T packed tokens, S segments (cells), L tokens of one cell, H heads, K head size.
"""

import logging
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import scaled_dot_product_attention

from rankformer.model.cuda.flash import installed_backends
from rankformer.model.device import synchronize
from rankformer.model.segments import Backend, Segments

logger = logging.getLogger(__name__)
# Tokens of the cells with which back ends are compared, and timed.
_COMPARED_LENGTHS, _TIMED_LENGTHS = (1, 37, 300), (2048,) * 4
# Beyond the rounding of half precision, on values drawn from a standard normal distribution.
_TOLERANCE = 0.1
_TIMES, _TOLERATED_SLOWNESS = 5, 1.5


def attend(
    query_THK: Tensor, key_THK: Tensor, value_THK: Tensor, segments: Segments, dropout: float
) -> Tensor:
    """Mix the values of each segment's tokens; returns (T, H, K).

    No padding is computed, and no cell's result depends on its neighbours in the batch.
    """
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

    On CUDA devices of compute capability 8.0 and up, in half precision, the first of
    `rankformer.model.cuda.flash.KINDS` that is installed, right, and about as fast as any; see
    `pick_backend`. Everywhere else, torch's attention a cell at a time.
    """
    candidates = _candidates(device, dtype, has_dropout=has_dropout, has_gradients=has_gradients)
    if len(candidates) > 1:
        return pick_backend(candidates, device, dtype, has_gradients=has_gradients)
    # Elsewhere there is no choice that could surprise.
    level = logging.INFO if device.type == "cuda" else logging.DEBUG
    logger.log(level, "Attention on %s in %s: %s.", device, str(dtype)[6:], _name(candidates[0]))
    return candidates[0]


def _candidates(
    device: torch.device, dtype: torch.dtype, *, has_dropout: bool, has_gradients: bool
) -> list[Backend]:
    """Those that are usually faster first; the last runs anywhere."""
    flash = installed_backends(device, dtype, has_dropout=has_dropout, has_gradients=has_gradients)
    return [*flash, attend_each]


def pick_backend(
    candidates: Sequence[Backend],
    device: torch.device,
    dtype: torch.dtype,
    *,
    has_gradients: bool = True,
) -> Backend:
    """The first back end that is right on this device, and about as fast as any.

    Which kernels there are, and how fast, depends on the card, its driver and torch's build.

    Parameters
    ----------
    candidates
        In the order of preference. The last is taken to be right; the others are compared with it.
    device, dtype
        Where, and in what.
    has_gradients
        Whether gradients must pass, and be right.
    """
    *others, reference = candidates
    compute = partial(_differentiate if has_gradients else _mix, device=device, dtype=dtype)
    tried = {each: _try(each, reference, compute, device, dtype) for each in others}
    seconds = {each: own for each, own in tried.items() if own is not None}
    seconds[reference] = _time(reference, device, dtype)
    slowest = _TOLERATED_SLOWNESS * min(seconds.values())
    chosen = next(each for each, own in seconds.items() if own <= slowest)
    logger.info(
        "Attention on %s in %s: %s. A try took: %s.", device, str(dtype)[6:], _name(chosen),
        "; ".join(f"{_name(each)} {1e3 * own:.2f} ms" for each, own in seconds.items()),
    )  # fmt: skip
    return chosen


def _try(
    backend: Backend,
    reference: Backend,
    compute: Callable[[Backend], Tensor],
    device: torch.device,
    dtype: torch.dtype,
) -> float | None:
    """Seconds of one call; None where it fails, or what `compute` makes with it is wrong."""
    expected = compute(reference)
    try:
        own = compute(backend)
        seconds = _time(backend, device, dtype)
    except torch.OutOfMemoryError:
        # Says nothing of the back end: the batch is made smaller, and it is tried again.
        raise
    # A missing kernel shows as any kind of error.
    except Exception as error:
        logger.warning("Attention by %s does not run on %s: %s", _name(backend), device, error)
        return None
    distance = float((own - expected).abs().max())
    if distance <= _TOLERANCE:
        return seconds
    logger.warning(
        "Attention by %s on %s is off by %.3g: it is not used.", _name(backend), device, distance
    )
    return None


def _differentiate(backend: Backend, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Results on some cells, and gradients of half their squares: (T, 4, H, K) float32."""
    # In training this may run where a layer is recomputed, whose hooks see what is saved here.
    hooks = saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
    with torch.inference_mode(mode=False), torch.enable_grad(), hooks:
        qkv_T3HK, segments = _draw(_COMPARED_LENGTHS, device, dtype)
        query_THK, key_THK, value_THK = qkv_T3HK.requires_grad_().unbind(1)
        mixed_THK = backend(query_THK, key_THK, value_THK, segments, 0.0)
        (gradient_T3HK,) = torch.autograd.grad(mixed_THK, qkv_T3HK, mixed_THK.detach())
        return torch.cat([mixed_THK.detach().unsqueeze(1), gradient_T3HK], dim=1).float()


@torch.inference_mode()
def _mix(backend: Backend, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Results on some cells: (T, H, K) float32."""
    qkv_T3HK, segments = _draw(_COMPARED_LENGTHS, device, dtype)
    query_THK, key_THK, value_THK = qkv_T3HK.unbind(1)
    return backend(query_THK, key_THK, value_THK, segments, 0.0).float()


@torch.inference_mode()
def _time(backend: Backend, device: torch.device, dtype: torch.dtype) -> float:
    """Seconds of one call with some long cells."""
    qkv_T3HK, segments = _draw(_TIMED_LENGTHS, device, dtype)
    query_THK, key_THK, value_THK = qkv_T3HK.unbind(1)
    # The first call may compile or load.
    for n_times in (1, _TIMES):
        synchronize(device)
        began = time.perf_counter()
        for _ in range(n_times):
            backend(query_THK, key_THK, value_THK, segments, 0.0)
        synchronize(device)
    return (time.perf_counter() - began) / _TIMES


def _draw(
    lengths: Sequence[int], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Segments]:
    """Query, key and value of cells in one tensor, (T, 3, H, K); the state of torch's stays."""
    generator = torch.Generator().manual_seed(0)
    qkv_T3HK = torch.randn(sum(lengths), 3, 8, 64, generator=generator)
    offsets = tuple(accumulate(lengths, initial=0))
    return qkv_T3HK.to(device, dtype), Segments.between(offsets, device)


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


def _name(backend: Backend) -> str:
    if backend is attend_each:
        return "torch's, a cell at a time"
    return str(backend)


def attention_weights(query_THK: Tensor, key_THK: Tensor, offsets: Sequence[int]) -> list[Tensor]:
    """The softmax weights of each cell, (H, L, L) float32: rows attend, columns are attended to."""
    weights = []
    for start, stop in pairwise(offsets):
        query_HLK = query_THK[start:stop].transpose(0, 1).float()
        key_HKL = key_THK[start:stop].permute(1, 2, 0).float()
        scores_HLL = query_HLK @ key_HKL / query_THK.shape[-1] ** 0.5
        weights.append(scores_HLL.softmax(dim=-1))
    return weights
