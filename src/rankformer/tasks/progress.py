"""Progress of long work: a bar on a terminal, lines in the log elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 30.0


Progress = Callable[[int], None]


@contextmanager
def show_progress(n_cells: int, what: str) -> Iterator[Progress]:
    """Yield a function to call with the number of cells done since its last call.

    Nothing is shown where the logger ``rankformer`` was set to warnings (``--quiet``).
    """
    if logging.getLogger("rankformer").level > logging.INFO:
        yield _show_nothing
    elif sys.stderr.isatty():
        with _bar(n_cells, what) as advance:
            yield advance
    else:
        yield _Lines(n_cells, what)


def _show_nothing(_: int) -> None:
    pass


@contextmanager
def _bar(n_cells: int, what: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=n_cells, rate="")

        def advance(n_done: int) -> None:
            progress.advance(task, n_done)
            speed = progress.tasks[task].speed
            progress.update(task, rate=f"{speed:,.1f} cells/s" if speed else "")

        yield advance


class _Lines:
    def __init__(self, n_cells: int, what: str) -> None:
        self.n_cells = n_cells
        self.what = what
        self.n_done = 0
        self.began = self.last = time.monotonic()

    def __call__(self, n_done: int) -> None:
        self.n_done += n_done
        now = time.monotonic()
        if now - self.last >= _SECONDS_BETWEEN_LINES:
            self.last = now
            rate = self.n_done / (now - self.began)
            logger.info(
                "%s: %s of %s, %.1f cells/s, %.0f s left", self.what, f"{self.n_done:,}",
                f"{self.n_cells:,}", rate, (self.n_cells - self.n_done) / rate,
            )  # fmt: skip
