"""The tools that a server offers, run by their names."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from rankformer.errors import SettingsError
from rankformer.mcp.folders import AllowedFolders
from rankformer.mcp.parameters import arguments_of, parameters_of, read_values, schema_of
from rankformer.mcp.plain_data import first, name_shown
from rankformer.mcp.results import Result
from rankformer.mcp.tools import TOOLS, Tool
from rankformer.tokens.reading_options import ReadingOptions


@dataclass(frozen=True)
class ToolBox:
    """The tools for some folders.

    Attributes
    ----------
    folders
        What may be read and written.
    may_download
        Whether models may be fetched.
    n_threads
        The most threads that a tool uses, or None for as many as there are cores.
    """

    folders: AllowedFolders
    may_download: bool = False
    n_threads: int | None = None

    @cached_property
    def tools(self) -> Mapping[str, Tool]:
        """Name → tool, of those that are offered."""
        return {each.name: each for each in TOOLS if self.may_download or not each.needs_network}

    @cached_property
    def schemas(self) -> Mapping[str, Any]:
        """Name → the class of pydantic that takes the parameters of the tool."""
        return {name: schema_of(parameters_of(each.run), name) for name, each in self.tools.items()}

    def run(self, name: str, given: Mapping[str, Any]) -> Result:
        """Run a tool.

        Parameters
        ----------
        name
            Of the tool.
        given
            Its parameters, as JSON has them.

        Returns
        -------
        Its result, with what was logged meanwhile.

        Raises
        ------
        RankformerError
            If there is no such tool, or anything that is given does not fit.
        """
        tool = self.tools.get(name)
        if tool is None:
            raise SettingsError(
                f"There is no tool {name_shown(name)!r}.",
                f"One of {', '.join(self.tools)}.",
                "Name one of these.",
            )
        values = read_values(self.schemas[name], given)
        with _heard("rankformer") as records:
            arguments = arguments_of(tool.run, values, self.folders)
            result = tool.run(**{name: self._limited(each) for name, each in arguments.items()})
        warned = [each for each in records if each.levelno >= logging.WARNING]
        told = [each for each in records if each.levelno == logging.INFO]
        return replace(result, warnings=_texts(warned), messages=_texts(told))

    def _limited(self, argument: Any) -> Any:
        if isinstance(argument, ReadingOptions):
            return replace(argument, n_threads=self.n_threads)
        return argument


def _texts(records: Iterable[logging.LogRecord]) -> tuple[str, ...]:
    """What was said, each once, as of a query and its reference the same may be said."""
    return first(dict.fromkeys(each.getMessage() for each in records))


class _Ear(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def _heard(name: str) -> Iterator[list[logging.LogRecord]]:
    """What is logged meanwhile; one tool runs at a time."""
    own, heard = logging.getLogger(name), _Ear()
    own.addHandler(heard)
    try:
        yield heard.records
    finally:
        own.removeHandler(heard)
