"""The log of workers, told by the process that began them, each message once."""

import logging
from collections.abc import Callable
from logging.handlers import QueueHandler
from typing import Any

_PACKAGE = "rankformer"
# What they found in an input was told when the run looked at it.
_TOLD_BEFORE = ("rankformer.cells", "rankformer.genes")


class _Relay(QueueHandler):
    def __init__(self, send: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # no queue: see enqueue
        self._send = send

    def enqueue(self, record: logging.LogRecord) -> None:
        if record.levelno > logging.INFO or not record.name.startswith(_TOLD_BEFORE):
            self._send(record)


def relay_logs(send: Callable[[logging.LogRecord], Any], level: int) -> None:
    """In a worker: hand the package's log to a function, as records that can be pickled."""
    logger = logging.getLogger(_PACKAGE)
    logger.handlers, logger.propagate = [_Relay(send)], False
    logger.setLevel(level)


def level_of_log() -> int:
    """What the package tells here, and so is to be told by workers."""
    return logging.getLogger(_PACKAGE).getEffectiveLevel()


class RelayedLogs:
    """Tells what workers logged; what several of them say is told once."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def tell(self, record: logging.LogRecord) -> None:
        """Tell a record, unless it was told before."""
        message = record.name, record.getMessage()
        if message not in self._told:
            self._told.add(message)
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
