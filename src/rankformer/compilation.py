"""How kernels are compiled."""

from collections.abc import Callable
from typing import Any

import numba


def compile_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of plain arrays, which then runs without the interpreter's lock.

    The machine code is kept on disk for the next process where there is a place for it: beside the
    module, in the user's cache, or in ``NUMBA_CACHE_DIR``.
    """
    return _compile(function, {})


def compile_fused_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compile_kernel`, where a product and a sum may be rounded once instead of twice.

    It is faster, and the last digits depend on the CPU.
    """
    return _compile(function, {"fastmath": {"contract"}})


def _compile(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any]
    try:
        compiled = numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:
        # numba's "no locator available": none of these places may be written to.
        compiled = numba.njit(nogil=True, **options)(function)
    return compiled
