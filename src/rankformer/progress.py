"""Progress of long work: a bar on a terminal, lines in the log elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rankformer.printable import printable

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 10.0
_SHARE_BETWEEN_LINES = 0.1


Progress = Callable[[int], None]
Watcher = Callable[[str, int, int], None]
"""Takes what is done, such as "Embedding cells", the items that are done, and all of them."""
# A context variable, as only the work that is watched is told to its watcher.
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell the progress of the work within to a function, in the place of bars and lines.

    The function may raise, which ends the work as any error does.
    """
    before = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(before)


@contextmanager
def show_progress(
    n_items: int, what: str, *, unit: str = "cells", n_before: int = 0
) -> Iterator[Progress]:
    """Yield a function to call with the number of items done since its last call.

    Nothing is shown where the logger ``rankformer`` was set to warnings (``--quiet``).

    Parameters
    ----------
    n_items
        Items in all.
    what
        What is done to them, such as "Embedding cells".
    unit
        What they are, in the plural.
    n_before
        Items that were done before, by a run that this one goes on with.
    """
    watcher, what = _watcher.get(), printable(what)
    if watcher is not None:
        yield _Watched(watcher, n_items, what, n_before)
    elif logging.getLogger("rankformer").level > logging.INFO:
        yield _show_nothing
    elif sys.stderr.isatty():
        with _bar(n_items, what, unit, n_before) as advance:
            yield advance
    else:
        yield _Lines(n_items, what, unit, n_before)


class _Watched:
    """Counts what is done for a watcher, who hears of the beginning too."""

    def __init__(self, watcher: Watcher, n_items: int, what: str, n_before: int) -> None:
        self.watcher, self.n_items, self.what, self.n_done = watcher, n_items, what, n_before
        self(0)

    def __call__(self, n_done: int) -> None:
        self.n_done += n_done
        self.watcher(self.what, self.n_done, self.n_items)


def _show_nothing(_: int) -> None:
    pass


@contextmanager
def _bar(n_items: int, what: str, unit: str, n_before: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=n_items, completed=n_before, rate="")

        def advance(n_done: int) -> None:
            progress.advance(task, n_done)
            speed = progress.tasks[task].speed
            progress.update(task, rate=f"{speed:,.1f} {unit}/s" if speed else "")

        yield advance


class _Lines:
    """A line after some seconds, then ever more seldom, so that long work fills no log."""

    def __init__(self, n_items: int, what: str, unit: str, n_before: int) -> None:
        self.n_items, self.what, self.unit = n_items, what, unit
        self.n_before = self.n_done = n_before
        self.began = time.monotonic()
        self.next = _SECONDS_BETWEEN_LINES

    def __call__(self, n_done: int) -> None:
        self.n_done += n_done
        seconds = time.monotonic() - self.began
        if seconds < self.next or not self.n_before < self.n_done < self.n_items:
            return
        self.next = seconds + max(_SECONDS_BETWEEN_LINES, _SHARE_BETWEEN_LINES * seconds)
        rate = (self.n_done - self.n_before) / seconds
        logger.info(
            "%s: %s of %s %s, %.1f %s/s, %.0f s left", self.what, f"{self.n_done:,}",
            f"{self.n_items:,}", self.unit, rate, self.unit, (self.n_items - self.n_done) / rate,
        )  # fmt: skip
