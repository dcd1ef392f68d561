"""How many tokens go through the model at once: chosen by memory, halved when it runs out."""

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import OutOfMemoryError
from rankformer.model.spec import EncoderSpec

if TYPE_CHECKING:
    import torch

R = TypeVar("R")
Submit = Callable[[Callable[[int, int], R], int, int], "Future[R]"]
"""Hands a batch over to be computed, and returns at once or when it is done."""
logger = logging.getLogger(__name__)
# More tokens at once bring no more speed, by device type: on a CPU, hidden states that stay in the
# caches are worth more than larger products.
_ENOUGH_TOKENS = {"cpu": 2_048, "mps": 32_768, "cuda": 131_072}
_SHARE_OF_MEMORY = 0.5


class TokenBudget:
    """The most tokens, and cells, of one packed batch. It shrinks when memory runs out."""

    def __init__(self, n_tokens: int, batch_size: int | None = None) -> None:
        self.n_tokens = n_tokens
        self.batch_size = batch_size

    @classmethod
    def for_memory(
        cls,
        spec: EncoderSpec,
        device: "torch.device",
        dtype: "torch.dtype",
        batch_size: int | None = None,
        n_at_once: int = 1,
    ) -> "TokenBudget":
        """A budget with which `n_at_once` batches fit half of the memory free on `device`."""
        # Largest at once: hidden state, projections and mixed values, or the feed-forward's middle.
        floats = max(6 * spec.d_model, 3 * spec.d_model + 2 * spec.d_ff)
        bytes_each = floats * dtype.itemsize * n_at_once
        fitting = int(_free_bytes(device) * _SHARE_OF_MEMORY / bytes_each)
        return cls(min(_ENOUGH_TOKENS.get(device.type, 16_384), max(fitting, 1)), batch_size)

    def next_stop(self, offsets: NDArray[np.int64], start: int) -> int:
        """Where a batch that begins with cell `start` ends; it has at least one cell."""
        stop = int(np.searchsorted(offsets, offsets[start] + self.n_tokens, side="right")) - 1
        if self.batch_size is not None:
            stop = min(stop, start + self.batch_size)
        return max(stop, start + 1)

    def shrink(self, n_tokens: int) -> None:
        """Halve, after a batch of `n_tokens` did not fit."""
        self.n_tokens = max(min(self.n_tokens, n_tokens) // 2, 1)
        logger.warning("Memory ran out; going on with %s tokens at once.", f"{self.n_tokens:,}")


def compute_now(compute: Callable[[int, int], R], start: int, stop: int) -> "Future[R]":
    """Compute a batch here, before returning."""
    future: Future[R] = Future()
    try:
        future.set_result(compute(start, stop))
    except Exception as error:
        future.set_exception(error)
    return future


def run_batches(
    compute: Callable[[int, int], R],
    offsets: NDArray[np.int64],
    budget: TokenBudget,
    submit: "Submit[R]" = compute_now,
    n_ahead: int = 1,
) -> Iterator[tuple[int, int, R]]:
    """Run consecutive batches of cells, smaller and fewer ones where memory runs out.

    Parameters
    ----------
    compute
        Called with the first cell of a batch and the one behind its last.
    offsets
        (n_cells + 1,) where each cell's tokens begin.
    budget
        Shrunk in place, so that later calls begin with what fits.
    submit
        How a batch is computed.
    n_ahead
        The most batches handed over and not yet yielded.

    Yields
    ------
    First cell, the one behind the last, and what `compute` returned; in the cells' order.

    Raises
    ------
    OutOfMemoryError
        If one cell alone does not fit.
    """
    ahead: deque[tuple[int, int, Future[R]]] = deque()
    next_cell = 0
    while ahead or next_cell < len(offsets) - 1:
        while len(ahead) < n_ahead and next_cell < len(offsets) - 1:
            stop = budget.next_stop(offsets, next_cell)
            ahead.append((next_cell, stop, submit(compute, next_cell, stop)))
            next_cell = stop
        start, stop, future = ahead.popleft()
        error = future.exception()
        if error is None:
            yield start, stop, future.result()
            continue
        n_tokens = int(offsets[stop] - offsets[start])
        if not _is_out_of_memory(error):
            raise error
        if stop - start == 1 and n_ahead == 1:
            raise OutOfMemoryError(
                f"Memory ran out with one cell of {n_tokens:,} tokens.",
                "Memory for at least one cell at a time.",
                "Free memory, use a smaller model, or run on another device.",
            ) from error
        wait([each for *_, each in ahead])
        # All that the failed batch and those behind it hold is released before they run again.
        ahead.clear()
        del error, future
        _release_memory()
        budget.shrink(n_tokens)
        n_ahead = max(n_ahead // 2, 1)
        next_cell = start


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU's allocator and Apple's raise a plain RuntimeError.
    text = str(error).lower()
    return "not enough memory" in text or "out of memory" in text or "can't allocate" in text


def _release_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _free_bytes(device: "torch.device") -> int:
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return min(int(psutil.virtual_memory().available), _free_in_container())


def _free_in_container() -> int:
    """What the control group leaves on Linux, which the machine's own figure does not show."""
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        return limit - int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return sys.maxsize
