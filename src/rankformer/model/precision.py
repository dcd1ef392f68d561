"""In which precision the model runs.

Shapes: T tokens, L tokens of one cell, H heads, K head size, D hidden.
"""

import logging
import time
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import linear

from rankformer.errors import SettingsError
from rankformer.model.attention import attend
from rankformer.model.cpu.blocked_attention import attend_blocked
from rankformer.model.cpu.flags import cpu_flags
from rankformer.model.cpu.rounded_attention import attend_rounded
from rankformer.model.cpu.tiles import NEEDED
from rankformer.model.segments import Backend, Segments
from rankformer.model.spec import EncoderSpec

logger = logging.getLogger(__name__)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Tokens of the product, and of the one cell's attention, that are timed.
_TIMED_TOKENS = 256
_ROUNDS = 3
# Of the cell with which ways of attention are timed on CPUs with AMX.
_ATTENDED_TOKENS, _ATTENDED_HEADS = 1_024, 8
# The narrowest published model.
_NARROWEST_OF_BFLOAT16 = 256
# How much faster a way must be: well above what two measurements differ by.
_WORTH = 1.2


def choose_dtype(dtype: str, device: torch.device, spec: EncoderSpec) -> torch.dtype:
    """The dtype named, or with ``"auto"`` bfloat16 where it is faster on `device`.

    It is on CUDA devices of compute capability 8.0 and up, and on CPUs with AMX. CPUs that have
    bfloat16 instructions without AMX differ: some multiply it at twice the rate of float32, some
    at half of it. There a product and an attention of the model's shape are timed in both, once a
    process and shape (about a tenth of a second, with kernels compiled before), and the log says
    what was found. Everywhere else it is float32, as it is for models narrower than the published
    ones, which gain little.

    Raises
    ------
    SettingsError
        If the dtype is none of these.
    """
    if dtype == "auto":
        if spec.d_model < _NARROWEST_OF_BFLOAT16:
            return torch.float32
        is_faster = _bfloat16_is_faster(device, spec.d_model, spec.n_heads)
        return torch.bfloat16 if is_faster else torch.float32
    if dtype not in _DTYPES:
        raise SettingsError(
            f"The dtype {dtype!r} was asked for.",
            f"One of auto, {', '.join(_DTYPES)}; to embed on a CPU also int8.",
            "Pass one of these as dtype (--dtype).",
        )
    return _DTYPES[dtype]


@cache
def _bfloat16_is_faster(device: torch.device, d_model: int, n_heads: int) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = cpu_flags() if device.type == "cpu" else set()
    if not flags & {"avx512_bf16", "bf16"} or "amx_bf16" in flags:
        return "amx_bf16" in flags
    gain = _measure_gain(d_model, n_heads)
    logger.info(
        "bfloat16 runs at %.1f times the speed of float32 here: %s is taken. To have the same on "
        "every machine, name the dtype.",
        gain, "bfloat16" if gain >= _WORTH else "float32",
    )  # fmt: skip
    return gain >= _WORTH


def choose_attention(precision: str, device: torch.device) -> Backend:
    """How attention is computed where no gradients are wanted, in float32, bfloat16, … or int8.

    On CPUs with AVX512-VNNI rounded (`attend_rounded`) for int8 and bfloat16. For bfloat16 on CPUs
    with AMX, `attend_blocked` where that is clearly faster than `attend`: both are timed once a
    process. Else `attend`.
    """
    flags = cpu_flags() if device.type == "cpu" else set()
    if precision == "bfloat16" and "amx_bf16" in flags:
        return attend_blocked if _blocks_are_faster() else attend
    return attend_rounded if precision in ("int8", "bfloat16") and NEEDED in flags else attend


@cache
def _blocks_are_faster() -> bool:
    heads_THK = torch.ones(_ATTENDED_TOKENS, _ATTENDED_HEADS, 64, dtype=torch.bfloat16)
    cell = Segments.between((0, _ATTENDED_TOKENS))

    def mix(run: Backend) -> Callable[[], Tensor]:
        return torch.inference_mode()(lambda: run(heads_THK, heads_THK, heads_THK, cell, 0.0))

    blocked, whole = _least_cpu_seconds([mix(attend_blocked), mix(attend)])
    # They round differently: what is chosen must not hang on the noise of a measurement.
    is_worth_it = whole >= _WORTH * blocked
    logger.info(
        "Attention in bfloat16: a block of products at a time takes %.2f of the time of torch's "
        "attention here: %s is taken.",
        blocked / whole, "the first" if is_worth_it else "the second",
    )  # fmt: skip
    return is_worth_it


def _measure_gain(d_model: int, n_heads: int) -> float:
    """Time of a product and an attention in float32 over that in bfloat16.

    On one thread, by the CPU time of that thread, so that other work on the machine counts little.
    """
    works = [_layer_work(d_model, n_heads, each) for each in (torch.float32, torch.bfloat16)]
    full, half = _least_cpu_seconds(works)
    return full / half


def _least_cpu_seconds(works: Sequence[Callable[[], object]]) -> list[float]:
    """Of each work, the least of some rounds in which all take turns, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [[_cpu_seconds(work) for work in works] for _ in range(_ROUNDS)]
    finally:
        torch.set_num_threads(before)
    return [min(seconds) for seconds in zip(*rounds, strict=True)]


def _layer_work(
    d_model: int, n_heads: int, dtype: torch.dtype
) -> Callable[[], tuple[Tensor, Tensor]]:
    """A product of a layer and one cell's attention, ready to run."""
    hidden_TD = torch.ones(_TIMED_TOKENS, d_model, dtype=dtype)
    weight_DD = torch.ones(d_model, d_model, dtype=dtype)
    heads_THK = hidden_TD.view(_TIMED_TOKENS, n_heads, -1)
    run_attention = choose_attention(str(dtype).removeprefix("torch."), hidden_TD.device)
    cell = Segments.between((0, _TIMED_TOKENS))

    @torch.inference_mode()
    def run() -> tuple[Tensor, Tensor]:
        mixed_THK = run_attention(heads_THK, heads_THK, heads_THK, cell, 0.0)
        return mixed_THK, linear(hidden_TD, weight_DD)

    return run


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began
