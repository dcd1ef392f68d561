"""Attention of all packed cells in one call, by the flash kernels that are installed.

torch can also switch FlashAttention-3 or 4 on for all of its attention, with
``torch.nn.attention.activate_flash_attention_impl``. The packages that it switches on are called
here directly instead: the switch is one for the whole process and its other models, and these
kernels refuse the dropout that training wants. Where a user has thrown it, torch's variable-length
attention runs by it, and the log says so.

Shapes: T packed tokens, H heads, K head size.
"""

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from rankformer.extras import install_command
from rankformer.model.segments import Segments

logger = logging.getLogger(__name__)
_HALF_DTYPES = (torch.bfloat16, torch.float16)
_HOPPER = 9
_TORCH_KERNELS = "rankformer.model.cuda.torch_kernels"


@dataclass(frozen=True)
class FlashKind:
    """Kernels that may be installed, and what they compute.

    Attributes
    ----------
    name
        For the log.
    module, function
        What is imported; its parameters are found by their names.
    generations
        Major compute capabilities of the cards that they are made for: the first, and the last or
        None.
    dtypes
        Of query, key and value.
    has_dropout, has_gradients
        Whether they know dropout, and a backward pass.
    """

    name: str
    module: str
    function: str = "flash_attn_varlen_func"
    generations: tuple[int, int | None] = (8, None)
    dtypes: tuple[torch.dtype, ...] = _HALF_DTYPES
    has_dropout: bool = False
    has_gradients: bool = True

    def fits(
        self, generation: int, dtype: torch.dtype, *, has_dropout: bool, has_gradients: bool
    ) -> bool:
        """Whether they compute this on a card of that major compute capability."""
        first, last = self.generations
        return (
            first <= generation <= (last or generation)
            and dtype in self.dtypes
            and self.has_dropout >= has_dropout
            and self.has_gradients >= has_gradients
        )


KINDS = (
    FlashKind("FlashAttention-3", "flash_attn_interface", generations=(_HOPPER, _HOPPER)),
    FlashKind(
        "FlashAttention-3 (fa3-fwd)", "fa3_fwd_interface", generations=(_HOPPER, _HOPPER),
        dtypes=(torch.bfloat16,), has_gradients=False,
    ),
    FlashKind("FlashAttention-4", "flash_attn.cute", generations=(_HOPPER, _HOPPER + 1)),
    FlashKind("torch's variable-length attention", "torch.nn.attention.varlen", "varlen_attn"),
    FlashKind("flash-attn", "flash_attn", has_dropout=True),
    FlashKind(
        "torch's FlashAttention-2", _TORCH_KERNELS, "attend_by_flash", has_dropout=True,
    ),
    FlashKind(
        "torch's memory-efficient attention", _TORCH_KERNELS, "attend_saving_memory",
        generations=(5, None), dtypes=(*_HALF_DTYPES, torch.float32), has_dropout=True,
    ),
)  # fmt: skip
"""Those that are usually faster on the same card come first."""
_FASTEST_ON_HOPPER = KINDS[:3]


@dataclass(frozen=True, eq=False)
class FlashBackend:
    """A back end of attention that computes all cells in one call."""

    kind: FlashKind
    function: Callable[..., Any]

    def __call__(
        self,
        query_THK: Tensor,
        key_THK: Tensor,
        value_THK: Tensor,
        segments: Segments,
        dropout: float,
    ) -> Tensor:
        offsets_S, longest = segments.offsets_S, segments.longest
        # What the packages call it. With keys unsplit, no cell's last digits depend on the others.
        known = {
            "cu_seqlens_q": offsets_S, "cu_seqlens_k": offsets_S,
            "cu_seq_q": offsets_S, "cu_seq_k": offsets_S,
            "max_seqlen_q": longest, "max_seqlen_k": longest, "max_q": longest, "max_k": longest,
            "num_splits": 1, "dropout_p": dropout,
        }  # fmt: skip
        named = {name: known[name] for name in _parameters(self.function) if name in known}
        mixed = self.function(query_THK, key_THK, value_THK, **named)
        # Some give the sums of the weights too.
        mixed_THK: Tensor = mixed[0] if isinstance(mixed, tuple) else mixed
        return mixed_THK

    def __str__(self) -> str:
        switched = _switched_on() if self.kind.module.startswith("torch.") else None
        return f"{self.kind.name} by {switched}" if switched else self.kind.name


def installed_backends(
    device: torch.device, dtype: torch.dtype, *, has_dropout: bool, has_gradients: bool
) -> list[FlashBackend]:
    """Those that are installed and made for this, the ones that are usually faster first."""
    if device.type != "cuda":
        return []
    generation = torch.cuda.get_device_capability(device)[0]
    found = find_backends(generation, dtype, has_dropout=has_dropout, has_gradients=has_gradients)
    is_slow = not any(each.kind in _FASTEST_ON_HOPPER for each in found)
    # AMD's cards have generations of the same numbers.
    is_hopper = generation == _HOPPER and torch.version.hip is None
    if is_hopper and is_slow and dtype == torch.bfloat16 and not has_gradients:
        _advise(torch.cuda.get_device_name(device))
    return found


def find_backends(
    generation: int, dtype: torch.dtype, *, has_dropout: bool, has_gradients: bool
) -> list[FlashBackend]:
    """As `installed_backends`, for a card of that major compute capability."""
    wanted = [
        kind
        for kind in KINDS
        if kind.fits(generation, dtype, has_dropout=has_dropout, has_gradients=has_gradients)
    ]
    return [each for each in map(load_backend, wanted) if each]


@cache
def load_backend(kind: FlashKind) -> FlashBackend | None:
    """Import its package; None where it is not installed, or made for another torch."""
    try:
        function = getattr(import_module(kind.module), kind.function)
    except ImportError:
        return None
    # A build for another torch fails with whatever its libraries say.
    except Exception as error:
        logger.info("%s cannot be imported: %s", kind.name, error)
        return None
    return FlashBackend(kind, function)


@cache
def _advise(card: str) -> None:
    """Once a process."""
    logger.info(
        "FlashAttention-3 is not installed: embedding is faster with it on this card (%s). "
        "To install it: %s", card, install_command("flash"),
    )  # fmt: skip


@cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _switched_on() -> str | None:
    """What the user told torch to compute attention by, such as ``"FA3"``."""
    current: Callable[[], str | None] | None = getattr(
        torch.nn.attention, "current_flash_attention_impl", None
    )
    return current() if current else None
