"""How kernels are compiled."""

from collections.abc import Callable
from typing import Any

import numba


def compile_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of plain arrays, which then runs without the interpreter's lock.

    The machine code is kept on disk for the next process where there is a place for it: beside the
    module, in the user's cache, or in ``NUMBA_CACHE_DIR``.
    """
    try:
        return _compile(function, keep=True)
    except RuntimeError:
        # numba's "no locator available": none of these places may be written to.
        return _compile(function, keep=False)


def _compile(function: Callable[..., Any], *, keep: bool) -> Callable[..., Any]:
    compiled: Callable[..., Any] = numba.njit(nogil=True, cache=keep)(function)
    return compiled
