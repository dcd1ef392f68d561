"""Work that overlaps: threads make what comes next, and use what came, while one item is used."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Generic, TypeVar, cast

from rankformer.stages import Stage

T = TypeVar("T")
_AT_END = object()


class Ahead(Iterator[T]):
    """Items that a thread makes before they are asked for; see `read_ahead`."""

    def __init__(self, make: Callable[[], "Future[T | object]"], n_ahead: int, user: Stage) -> None:
        self._make, self._n_ahead, self._user = make, n_ahead, user
        self._coming: deque[Future[T | object]] = deque()

    def __next__(self) -> T:
        self._begin(1)
        with self._user.waits_for_input():
            item = self._coming[0].result()
        if item is _AT_END:
            raise StopIteration
        self._coming.popleft()
        self._begin(self._n_ahead)
        return cast("T", item)

    @property
    def is_ready(self) -> bool:
        """Whether the next item, or the end, is there: to ask for it takes no time."""
        self._begin(1)
        return self._coming[0].done()

    def _begin(self, n_items: int) -> None:
        while len(self._coming) < n_items:
            self._coming.append(self._make())


@contextmanager
def read_ahead(
    items: Generator[T, None, None],
    n_ahead: int = 1,
    *,
    maker: Stage | None = None,
    user: Stage | None = None,
) -> Iterator[Ahead[T]]:
    """Run a generator some items ahead of its user, in a thread of its own.

    Items and errors come in the generator's order. When the block ends, however it ends, the item
    under way is awaited, and the generator closed: nothing runs on behind it.

    Parameters
    ----------
    items
        Makes the items.
    n_ahead
        The most that are made or under way besides the one in use.
    maker, user
        Told of the time that the generator and its user work and wait.
    """
    maker = maker or Stage()

    def make() -> T | object:
        with maker.works():
            return next(items, _AT_END)

    worker = ThreadPoolExecutor(1, "rankformer-read-ahead")
    with closing(items):
        try:
            yield Ahead(lambda: worker.submit(make), n_ahead, user or Stage())
        finally:
            worker.shutdown(cancel_futures=True)


class _AbandonedError(Exception):
    """Items end before what they are of is whole."""


class _Queue(Generic[T]):
    """Items on their way from one thread to another, as many as there is room for."""

    def __init__(self, most_bytes: int, maker: Stage, user: Stage) -> None:
        self._most_bytes, self._maker, self._user = most_bytes, maker, user
        self._changed = threading.Condition()
        self._items: deque[tuple[T, int]] = deque()
        self._n_bytes = 0
        self._is_closed = self._is_abandoned = False
        self._ended: BaseException | None = None

    def put(self, item: T, n_bytes: int) -> None:
        """Wait for room, and hand the item over.

        Raises
        ------
        BaseException
            What ended the thread that uses the items.
        """
        with self._changed:
            with self._maker.waits_for_room():
                self._changed.wait_for(lambda: self._ended or self._has_room(n_bytes))
            if self._ended is not None:
                raise self._ended
            self._items.append((item, n_bytes))
            self._n_bytes += n_bytes
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                with self._user.waits_for_input():
                    self._changed.wait_for(lambda: self._items or self._is_closed)
                if not self._items:
                    if self._is_abandoned:
                        raise _AbandonedError
                    return
                item, n_bytes = self._items.popleft()
                self._n_bytes -= n_bytes
                self._changed.notify_all()
            yield item
            del item  # Else it would be held while the next is waited for.

    def close(self, *, abandon: bool = False, drop: bool = False) -> None:
        """Nothing more comes; what is there is left out if it is to be dropped."""
        with self._changed:
            self._is_closed, self._is_abandoned = True, abandon or self._is_abandoned
            if drop:
                self._items.clear()
            self._changed.notify_all()

    def end(self, error: BaseException) -> None:
        """Nobody uses what is put from now on."""
        with self._changed:
            self._ended = error
            self._changed.notify_all()

    def _has_room(self, n_bytes: int) -> bool:
        return not self._items or self._n_bytes + n_bytes <= self._most_bytes


@contextmanager
def use_behind(
    use: Callable[[Iterator[T]], None],
    most_bytes: int,
    *,
    maker: Stage | None = None,
    user: Stage | None = None,
) -> Iterator[Callable[[T, int], None]]:
    """Use items in a thread of its own, behind the block that makes them.

    Yields what takes an item and its bytes, and waits where there is no room. When the block ends,
    what it gave is used up before this returns. Where it ends with an error, what was given before
    is still used, and the items then break off with an exception in `use`, which is to leave
    nothing half-done; where it is interrupted, they break off at once.

    Parameters
    ----------
    use
        Called once, with all items in order; an error of it comes out of the next call, or of the
        end of the block.
    most_bytes
        Of items that wait to be used. One that is larger waits alone.
    maker, user
        Told of the time that the block and `use` work and wait.
    """
    user = user or Stage()
    queue: _Queue[T] = _Queue(most_bytes, maker or Stage(), user)

    def run() -> None:
        try:
            with user.works():
                use(iter(queue))
        except BaseException as error:
            queue.end(error)
            raise

    with ThreadPoolExecutor(1, "rankformer-use-behind") as worker:
        try:
            used = worker.submit(run)
            yield queue.put
        except BaseException as error:
            queue.close(abandon=True, drop=not isinstance(error, Exception))
            raise
        finally:
            # Else the thread would wait for items for ever, and this for the thread.
            queue.close()
        used.result()
