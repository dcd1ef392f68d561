"""Loggers of other packages kept from telling what nobody asked for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_loggers(*names: str) -> Iterator[None]:
    """Set loggers of other packages to warnings, as long as the block runs."""
    levels = {each: logging.getLogger(each).level for each in names}
    for each in levels:
        logging.getLogger(each).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for each, level in levels.items():
            logging.getLogger(each).setLevel(level)
