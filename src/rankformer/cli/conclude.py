"""The end of a command: a summary in the log, or one JSON document on stdout."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

import typer

from rankformer.summary import Summary

SOME_FAILED = 3


def conclude(task: Callable[[], Summary | None], *, as_json: bool) -> None:
    """Run the task of a command, and show what it made.

    With JSON, whatever else would be printed goes to stderr. A group of commands makes nothing
    where one of them follows, and is shown as nothing.

    Raises
    ------
    typer.Exit
        With status 3, if inputs could not be read while others were.
    """
    began, stdout = time.monotonic(), sys.stdout
    with _collected_warnings() as warnings:
        if as_json:
            with redirect_stdout(sys.stderr):
                summary = task()
        else:
            summary = task()
    if summary is None or not _is_main_process():
        return
    from rankformer.show.summary_screen import summary_document

    seconds = time.monotonic() - began
    if as_json:
        argv = ["rankformer", *sys.argv[1:]]
        stdout.write(f"{summary_document(summary, argv, seconds, warnings)}\n")
    else:
        _show(summary, seconds, warnings)
    if summary.failures:
        raise typer.Exit(SOME_FAILED)


def _show(summary: Summary, seconds: float, warnings: Sequence[str]) -> None:
    from rankformer.show.summary_screen import failures_text, summary_text

    if summary.screen is not None:
        summary.screen()
    text = summary_text(summary, seconds, warnings)
    logger = logging.getLogger("rankformer")
    if text:
        logger.info("\n%s", text)
    if summary.failures:
        logger.warning("%s", failures_text(summary.failures))


def _is_main_process() -> bool:
    from rankformer.training.distributed import is_main_process

    return is_main_process()


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """The warnings of the log, each once, which long runs move out of sight."""
    told: dict[str, None] = {}
    handler = _Collector(told)
    logger, warnings = logging.getLogger("rankformer"), list[str]()
    logger.addHandler(handler)
    try:
        yield warnings
    finally:
        logger.removeHandler(handler)
        warnings.extend(told)


class _Collector(logging.Handler):
    def __init__(self, told: dict[str, None]) -> None:
        super().__init__(logging.WARNING)
        self.told = told

    def emit(self, record: logging.LogRecord) -> None:
        self.told[record.getMessage()] = None
