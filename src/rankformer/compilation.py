"""How kernels are compiled, and that it is told."""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
from numba.core import event

logger = logging.getLogger(__name__)


def compile_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of plain arrays, which then runs without the interpreter's lock.

    It is compiled at its first call, which is told in the log. The machine code is kept on disk for
    the next process where there is a place for it: beside the module, in the user's cache, or in
    ``NUMBA_CACHE_DIR``.
    """
    return _compile(function, {})


def compile_fused_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compile_kernel`, where a product and a sum may be rounded once instead of twice.

    It is faster, and the last digits depend on the CPU.
    """
    return _compile(function, {"fastmath": {"contract"}})


def _compile(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    _tell_when_compiling()
    compiled: Callable[..., Any]
    try:
        compiled = numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:
        # numba's "no locator available": none of these places may be written to.
        compiled = numba.njit(nogil=True, **options)(function)
    return compiled


@cache
def _tell_when_compiling() -> None:
    """Once a process."""
    event.register("numba:compile", _Teller())  # type: ignore[no-untyped-call]


class _Teller(event.Listener):
    """Tells the first time that a kernel of ours is compiled: found on disk, it is not."""

    def __init__(self) -> None:
        self._told = False

    def on_start(self, event: Any) -> None:
        kernel = event.data["dispatcher"]
        if self._told or not kernel.py_func.__module__.startswith("rankformer."):
            return
        self._told = True
        folder = kernel.stats.cache_path
        if folder is None:
            logger.warning(
                "Kernels are compiled for this CPU, which takes about ten seconds, and will be at "
                "every start: no folder to keep them in can be written to. Name one in the "
                "environment variable NUMBA_CACHE_DIR."
            )
        else:
            logger.info(
                "Kernels are compiled for this CPU, which takes about ten seconds. They are kept "
                "in %s for the next start.",
                folder,
            )

    def on_end(self, event: Any) -> None:
        """Nothing: it is the beginning that is told."""
