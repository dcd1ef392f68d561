"""Loggers kept from telling what nobody asked for, or what is told again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_loggers(*names: str, level: int = logging.WARNING) -> Iterator[None]:
    """Let loggers tell nothing below a level, as long as the block runs."""
    levels = {each: logging.getLogger(each).level for each in names}
    for each in levels:
        logging.getLogger(each).setLevel(level)
    try:
        yield
    finally:
        for each, level in levels.items():
            logging.getLogger(each).setLevel(level)
