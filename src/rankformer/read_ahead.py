"""Work that overlaps: while one item is used, a thread makes the next."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def read_ahead(items: Generator[T, None, None]) -> Iterator[Iterator[T]]:
    """Run a generator one item ahead of its user, in a thread of its own.

    Items and errors come in the generator's order. When the block ends, however it ends, the item
    under way is awaited, and the generator closed: nothing runs on behind it. Two items are held
    at most, the one in use and the next.
    """
    with closing(items), ThreadPoolExecutor(1, "rankformer-read-ahead") as worker:
        yield _take(items, worker)


def _take(items: Generator[T, None, None], worker: ThreadPoolExecutor) -> Iterator[T]:
    at_end = object()
    coming = worker.submit(next, items, at_end)
    while (item := coming.result()) is not at_end:
        coming = worker.submit(next, items, at_end)
        yield item  # type: ignore[misc]
