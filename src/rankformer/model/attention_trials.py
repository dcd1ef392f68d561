"""Back ends of attention, compared and timed on the device that they are to be used on.

Shapes: T packed tokens, H heads, K head size; L tokens of one cell.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from rankformer.model.attention_by_cell import attend_each
from rankformer.model.attention_by_length import attend_by_length
from rankformer.model.device import synchronize
from rankformer.model.dropped_attention import attend_dropped
from rankformer.model.segments import Backend, Segments

logger = logging.getLogger(__name__)
# Tokens of the cells with which back ends are compared, and timed.
_COMPARED_LENGTHS, _TIMED_LENGTHS = (1, 37, 300), (2048,) * 4
_N_HEADS, _HEAD_SIZE = 8, 64
# Beyond rounding, on values drawn from a standard normal distribution.
_TOLERANCES = {torch.float32: 1e-3}
_TOLERANCE_OF_HALF_PRECISION = 0.1
# A share that is dropped in trials; kernels round it to multiples of 1/256 or less.
_DROPOUT, _TOLERANCE_OF_SHARE = 0.25, 0.02
_TIMES, _TOLERATED_SLOWNESS = 5, 1.5
_NAMES: dict[Backend, str] = {
    attend_each: "torch's, a cell at a time",
    attend_by_length: "torch's, cells of like length at once",
    attend_dropped: "a cell at a time, with fewer random numbers",
}


@dataclass(frozen=True)
class Situation:
    """Where, in what and for what attention is computed.

    Attributes
    ----------
    device, dtype
        Where, and of which numbers.
    has_dropout, has_gradients
        Whether weights are dropped, and whether gradients must pass, and be right.
    """

    device: torch.device
    dtype: torch.dtype
    has_dropout: bool = False
    has_gradients: bool = True

    def __str__(self) -> str:
        return f"{self.device} in {str(self.dtype)[6:]}{', with dropout' * self.has_dropout}"

    @property
    def dropout(self) -> float:
        """That of a trial."""
        return _DROPOUT if self.has_dropout else 0.0

    @property
    def tolerance(self) -> float:
        return _TOLERANCES.get(self.dtype, _TOLERANCE_OF_HALF_PRECISION)


def pick_backend(candidates: Sequence[Backend], situation: Situation) -> Backend:
    """The first back end that is right on this device, and about as fast as any.

    Which kernels there are, and how fast, depends on the card, its driver and torch's build.

    Parameters
    ----------
    candidates
        In the order of preference. The last is taken to be right; the others are compared with it,
        and their dropout with what their own mask leaves.
    situation
        What for.
    """
    *others, reference = candidates
    expected = _mix(reference, situation)
    tried = {each: _try(each, expected, situation) for each in others}
    seconds = {each: own for each, own in tried.items() if own is not None}
    seconds[reference] = _time(reference, situation)
    slowest = _TOLERATED_SLOWNESS * min(seconds.values())
    chosen = next(each for each, own in seconds.items() if own <= slowest)
    logger.info(
        "Attention on %s: %s. A try took: %s.", situation, name_of(chosen),
        "; ".join(f"{name_of(each)} {1e3 * own:.2f} ms" for each, own in seconds.items()),
    )  # fmt: skip
    return chosen


def name_of(backend: Backend) -> str:
    """For the log."""
    return _NAMES.get(backend) or str(backend)


def _try(backend: Backend, expected: Tensor, situation: Situation) -> float | None:
    """Seconds of one call; None where it fails, or what it computes is wrong."""
    device = situation.device
    try:
        distance = float((_mix(backend, situation) - expected).abs().max())
        fault = None if distance <= situation.tolerance else f"is off by {distance:.3g}"
        if fault is None and situation.has_dropout:
            fault = _fault_of_dropout(backend, situation)
        seconds = _time(backend, situation)
    except torch.OutOfMemoryError:
        # Says nothing of the back end: the batch is made smaller, and it is tried again.
        raise
    # A missing kernel shows as any kind of error.
    except Exception as error:
        logger.warning("Attention by %s does not run on %s: %s", name_of(backend), device, error)
        return None
    if fault is None:
        return seconds
    logger.warning("Attention by %s on %s %s: it is not used.", name_of(backend), device, fault)
    return None


def _mix(backend: Backend, situation: Situation) -> Tensor:
    """Results on some cells, and gradients where they must pass: (T, 1 or 4, H, K) float32."""
    with _settled(situation):
        qkv_T3HK, segments = _draw(_COMPARED_LENGTHS, situation)
        return _differentiate(backend, qkv_T3HK, segments, 0.0).float()


def _fault_of_dropout(backend: Backend, situation: Situation) -> str | None:
    """What is wrong with how weights are dropped; None where nothing is.

    The mask is read from results for values that are one at a single place of a cell; then results
    and gradients for other values, with the same mask, must be those of plain attention with it.
    """
    with _settled(situation):
        qkv_T3HK, segments = _draw(_COMPARED_LENGTHS, situation)
        kept, other = (_read_mask(backend, qkv_T3HK, segments, seed) for seed in (0, 1))
        left = torch.cat([each.flatten() for each in kept])
        share = 1 - float(left.double().mean())
        if abs(share - _DROPOUT) > _TOLERANCE_OF_SHARE:
            return f"drops a share of {share:.3f} where {_DROPOUT} was asked for"
        if torch.equal(kept[-1], other[-1]) or torch.equal(kept[-1][0], kept[-1][1]):
            return "drops the same weights at each call, or of each head"
        _seed(situation.device, 0)
        found = _differentiate(backend, qkv_T3HK, segments, _DROPOUT).double()
        expected = _differentiate(_plainly(kept), qkv_T3HK.double(), segments, _DROPOUT)
        distance = float((found - expected).abs().max())
    if distance <= situation.tolerance:
        return None
    return f"is off by {distance:.3g} with dropout"


def _read_mask(backend: Backend, qkv_T3HK: Tensor, segments: Segments, seed: int) -> list[Tensor]:
    """Which weights of each cell are left after a seed: (H, L, L) bool."""
    query_THK, key_THK, value_THK = qkv_T3HK.detach().unbind(1)
    places_T = torch.cat([torch.arange(b - a) for a, b in pairwise(segments.offsets)])
    columns = []
    for first in range(0, segments.longest, _HEAD_SIZE):
        units_TK = places_T[:, None] == first + torch.arange(_HEAD_SIZE)
        units_THK = units_TK.to(value_THK.device, value_THK.dtype)[:, None].expand_as(value_THK)
        _seed(value_THK.device, seed)
        columns.append(backend(query_THK, key_THK, units_THK.contiguous(), segments, _DROPOUT))
    weights_THL = torch.cat(columns, dim=-1)
    return [weights_THL[a:b, :, : b - a].transpose(0, 1) > 0 for a, b in pairwise(segments.offsets)]


def _plainly(kept: Sequence[Tensor]) -> Backend:
    """Attention as it is written, with these weights left."""

    def mix(
        query_THK: Tensor, key_THK: Tensor, value_THK: Tensor, segments: Segments, dropout: float
    ) -> Tensor:
        mixed = []
        for (start, stop), kept_HLL in zip(pairwise(segments.offsets), kept, strict=True):
            query, key, value = (
                each[start:stop].transpose(0, 1) for each in (query_THK, key_THK, value_THK)
            )
            weights_HLL = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
            mixed.append((weights_HLL * kept_HLL / (1 - dropout) @ value).transpose(0, 1))
        return torch.cat(mixed)

    return mix


def _differentiate(
    backend: Backend, qkv_T3HK: Tensor, segments: Segments, dropout: float
) -> Tensor:
    """Results, and where gradients pass those of half their squares beside them."""
    leaf_T3HK = qkv_T3HK.detach().requires_grad_(torch.is_grad_enabled())
    query_THK, key_THK, value_THK = leaf_T3HK.unbind(1)
    mixed_THK = backend(query_THK, key_THK, value_THK, segments, dropout)
    if not torch.is_grad_enabled():
        return mixed_THK.unsqueeze(1)
    (gradient_T3HK,) = torch.autograd.grad(mixed_THK, leaf_T3HK, mixed_THK.detach())
    return torch.cat([mixed_THK.detach().unsqueeze(1), gradient_T3HK], dim=1)


def _time(backend: Backend, situation: Situation) -> float:
    """Seconds of one call with some long cells, with its backward pass in training."""
    device = situation.device
    with _settled(situation):
        qkv_T3HK, segments = _draw(_TIMED_LENGTHS, situation)
        # The first call may compile or load.
        for n_times in (1, _TIMES):
            synchronize(device)
            began = time.perf_counter()
            for _ in range(n_times):
                _differentiate(backend, qkv_T3HK, segments, situation.dropout)
            synchronize(device)
        return (time.perf_counter() - began) / _TIMES


@contextmanager
def _settled(situation: Situation) -> Iterator[None]:
    """Gradients as in the situation, nothing of an outer autograd, and torch's state kept."""
    device = situation.device
    # In training this may run where a layer is recomputed, whose hooks see what is saved here.
    hooks = saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
    generators = torch.random.fork_rng([device] if device.type == "cuda" else [])
    autocast = torch.autocast(device.type, enabled=False)
    gradients = torch.enable_grad() if situation.has_gradients else torch.no_grad()
    with torch.inference_mode(mode=False), gradients, hooks, generators, autocast:
        yield


def _seed(device: torch.device, seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _draw(lengths: Sequence[int], situation: Situation) -> tuple[Tensor, Segments]:
    """Query, key and value of cells in one tensor, (T, 3, H, K)."""
    generator = torch.Generator().manual_seed(0)
    qkv_T3HK = torch.randn(sum(lengths), 3, _N_HEADS, _HEAD_SIZE, generator=generator)
    offsets = tuple(accumulate(lengths, initial=0))
    moved = qkv_T3HK.to(situation.device, situation.dtype)
    return moved, Segments.between(offsets, situation.device)
