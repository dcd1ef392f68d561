"""Lines for a terminal, which itself would break them within words."""

import logging
import os
import re
import sys
import textwrap
from typing import TextIO

from rankformer.printable import fit_to_show

_USUAL_WIDTH = 80
_NO_BREAK = "\0"


def wrap(text: str, stream: TextIO) -> str:
    """Break lines between words where `stream` is a terminal; what goes elsewhere stays whole.

    Lines that begin with a space are tables, or commands to copy: they stay as they are.
    """
    if not stream.isatty():
        return text
    width = _width(stream)
    return "\n".join(
        line if line.startswith(" ") else "\n".join(_lines(line, width))
        for line in text.split("\n")
    )


def _lines(line: str, width: int) -> list[str]:
    """Lines of whole words; what stands between backticks, to be copied, is one."""
    whole = re.sub("`[^`]+`", lambda command: command[0].replace(" ", _NO_BREAK), line)
    indent = "  " if line.startswith("- ") else ""
    lines = textwrap.wrap(
        whole, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [each.replace(_NO_BREAK, " ") for each in lines] or [""]


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    except (OSError, ValueError):
        return _USUAL_WIDTH


class WrappingHandler(logging.StreamHandler[TextIO]):
    """Writes messages alone, wrapped, to the `sys.stderr` of the moment: a bar takes its place.

    Names in them are shown, whatever characters they hold, and never obeyed by the terminal.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr

    def format(self, record: logging.LogRecord) -> str:
        return wrap(fit_to_show(super().format(record)), self.stream)
