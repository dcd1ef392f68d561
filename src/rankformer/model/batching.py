"""How many tokens go through the model at once: chosen by memory, halved when it runs out."""

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import OutOfMemoryError
from rankformer.model.spec import EncoderSpec
from rankformer.read_ahead import Ahead

if TYPE_CHECKING:
    import torch

P = TypeVar("P")
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
    budget, submit, n_ahead
        As of `run_parts`.

    Yields
    ------
    First cell, the one behind the last, and what `compute` returned; in the cells' order.

    Raises
    ------
    OutOfMemoryError
        If one cell alone does not fit.
    """
    own = PartCells(offsets, compute)
    for _, start, stop, result in run_parts(iter([own]), _itself, budget, submit, n_ahead):
        if stop > start:
            yield start, stop, cast("R", result)


def _itself(cells: "PartCells[R]") -> "PartCells[R]":
    return cells


@dataclass(frozen=True, eq=False)
class PartCells(Generic[R]):
    """Cells that came together.

    Attributes
    ----------
    offsets
        (n_cells + 1,) where each cell's tokens begin.
    compute
        Called with the first cell of a batch and the one behind its last.
    """

    offsets: NDArray[np.int64]
    compute: Callable[[int, int], R]

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(eq=False)
class _Span(Generic[P, R]):
    """Cells of a part that are to be handed over, or were: the first, and the one behind."""

    part: P
    cells: PartCells[R]
    start: int
    stop: int
    future: "Future[R] | None" = None

    @property
    def n_tokens(self) -> int:
        return int(self.cells.offsets[self.stop] - self.cells.offsets[self.start])


class _Upcoming(Generic[P, R]):
    """The cells that are left: of parts as they come, and those that are to be computed again."""

    def __init__(self, parts: Iterator[P], cells_of: Callable[[P], PartCells[R]]) -> None:
        self._parts, self._cells_of = parts, cells_of
        self._spans: deque[_Span[P, R]] = deque()
        self._error: Exception | None = None

    def take(self, budget: TokenBudget, *, may_wait: bool) -> "_Span[P, R] | None":
        """The next batch; None at the end, or where it would have to be waited for."""
        if not self._spans and not self._open_next(may_wait=may_wait):
            return None
        left = self._spans[0]
        if left.start == left.stop:
            return self._spans.popleft()
        stop = min(budget.next_stop(left.cells.offsets, left.start), left.stop)
        batch = _Span(left.part, left.cells, left.start, stop)
        left.start = stop
        if left.start == left.stop:
            self._spans.popleft()
        return batch

    def _open_next(self, *, may_wait: bool) -> bool:
        """Whether there is a part. An error in its place comes when all before it is done."""
        if self._error is None:
            if not may_wait and isinstance(self._parts, Ahead) and not self._parts.is_ready:
                return False
            try:
                part = next(self._parts)
                cells = self._cells_of(part)
            except StopIteration:
                return False
            except Exception as error:
                self._error = error
            else:
                self._spans.append(_Span(part, cells, 0, len(cells)))
                return True
        if may_wait:
            raise self._error
        return False

    def put_back(self, batches: Sequence["_Span[P, R]"]) -> None:
        """Take cells again that are before those that are left, to be cut anew."""
        for each in reversed(batches):
            if self._spans and self._spans[0].cells is each.cells:
                self._spans[0].start = each.start
            else:
                self._spans.appendleft(_Span(each.part, each.cells, each.start, each.stop))


def run_parts(
    parts: Iterator[P],
    cells_of: Callable[[P], PartCells[R]],
    budget: TokenBudget,
    submit: "Submit[R]" = compute_now,
    n_ahead: int = 1,
) -> Iterator[tuple[P, int, int, R | None]]:
    """Run the cells of parts in batches, without a pause between one part and the next.

    A batch is of one part. Where memory runs out, batches become smaller and fewer. Where the next
    part is not there yet, results are given in the meantime, of parts that come by `read_ahead`.

    Parameters
    ----------
    parts
        In order.
    cells_of
        Called with each part when its turn comes.
    budget
        Shrunk in place, so that later calls begin with what fits.
    submit
        How a batch is computed.
    n_ahead
        The most batches handed over and not yet yielded.

    Yields
    ------
    Part, first cell, the one behind the last, and what `compute` returned; in the cells' order. A
    part without cells comes once, with None: all that is before it has come.

    Raises
    ------
    OutOfMemoryError
        If one cell alone does not fit.
    """
    upcoming = _Upcoming(parts, cells_of)
    ahead: deque[_Span[P, R]] = deque()
    while True:
        while len(ahead) < n_ahead:
            batch = upcoming.take(budget, may_wait=not ahead)
            if batch is None:
                break
            if batch.stop > batch.start:
                batch.future = submit(batch.cells.compute, batch.start, batch.stop)
            ahead.append(batch)
        if not ahead:
            return
        batch = ahead.popleft()
        if batch.future is None:
            yield batch.part, batch.start, batch.stop, None
            continue
        error = batch.future.exception()
        if error is None:
            yield batch.part, batch.start, batch.stop, batch.future.result()
            continue
        _expect_out_of_memory(error, batch, n_ahead)
        wait([each.future for each in ahead if each.future is not None])
        upcoming.put_back([batch, *ahead])
        budget.shrink(batch.n_tokens)
        n_ahead = max(n_ahead // 2, 1)
        # All that the failed batch and those behind it hold is released before they run again.
        ahead.clear()
        del error, batch
        _release_memory()


def _expect_out_of_memory(error: BaseException, batch: _Span[P, R], n_ahead: int) -> None:
    """Raise an error that is another, or is that of one cell alone."""
    if not _is_out_of_memory(error):
        raise error
    if batch.stop - batch.start == 1 and n_ahead == 1:
        raise OutOfMemoryError(
            f"Memory ran out with one cell of {batch.n_tokens:,} tokens.",
            "Memory for at least one cell at a time.",
            "Free memory, use a smaller model, or run on another device.",
        ) from error


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
