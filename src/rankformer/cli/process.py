"""A command as a process: logging, and an end by a signal."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


def set_up_logging(level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("rankformer")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


def wait_idly() -> None:
    """Let torch's threads sleep while they wait for each other, unless the user says otherwise.

    Threads that wait busily take the cores from other programs and, where there are such, from each
    other. It is read when torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class Stopped(BaseException):
    """Ctrl-C, or a scheduler ends the job; typer would end silently at a KeyboardInterrupt."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Unwind at SIGINT and SIGTERM, so that what is half-written is removed."""

    def stop(number: int, _: object) -> NoReturn:
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
