"""How many cells are worked on at once: as many as asked for, and fewer where memory runs out."""

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from rankformer.errors import OutOfMemoryError, RankformerError
from rankformer.threads import is_room_for

T = TypeVar("T")
logger = logging.getLogger(__name__)
# As HDF5 and Python's threads say it.
_NO_MEMORY = ("memory allocation failed", "can't start new thread")
_ENOUGH_BYTES = 64 << 20


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, which is not always told by a `MemoryError`."""
    if isinstance(error, RankformerError):
        return False
    told = isinstance(error, MemoryError) or any(each in str(error) for each in _NO_MEMORY)
    # Compression filters of HDF5 only say that they failed.
    return told or not is_room_for(_ENOUGH_BYTES)


class CellBudget:
    """The most cells that are worked on at once. It shrinks when memory runs out.

    Parameters
    ----------
    n_cells
        To begin with.
    done
        What is done with them, such as ``read from X of pbmc.h5ad``.
    """

    def __init__(self, n_cells: int, done: str) -> None:
        self._n_cells, self._done = n_cells, done

    def run(self, work: Callable[[int, int], T], start: int, stop: int) -> Iterator[T]:
        """Do work on cells in order, some at a time; where memory runs out, on fewer.

        Parameters
        ----------
        work
            Called with the first cell and the one behind the last.
        start, stop
            All the cells; `stop` is not included.

        Yields
        ------
        What `work` returns.

        Raises
        ------
        OutOfMemoryError
            If memory does not suffice for one cell.
        """
        while start < stop:
            end = min(start + self._n_cells, stop)
            try:
                result = work(start, end)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(end - start, error)
                continue
            yield result
            del result  # Else it would be held while the next is made.
            start = end

    def _shrink(self, n_cells: int, error: Exception) -> None:
        """Halve, after so many cells did not fit."""
        if n_cells == 1:
            raise OutOfMemoryError(
                f"Memory ran out while one cell was {self._done}: "
                f"{str(error) or type(error).__name__}",
                "Memory for at least one cell at a time.",
                "Free memory, or ask the scheduler for more. If one cell cannot need so much, the "
                "file is damaged: copy or download it again.",
            ) from error
        self._n_cells = n_cells // 2
        logger.warning(
            "Memory ran out; going on with %s at once, %s.",
            "1 cell" if self._n_cells == 1 else f"{self._n_cells:,} cells", self._done,
        )  # fmt: skip
