"""What a command made: told at its end on a terminal, or as one JSON document."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankformer.errors import RankformerError


@dataclass(frozen=True)
class Written:
    """A file or folder that was written, and what it holds, in a few words."""

    path: Path
    what: str

    @property
    def n_bytes(self) -> int:
        """Its size on the disk, of a folder that of all its files."""
        if not self.path.is_dir():
            return self.path.stat().st_size
        return sum(each.stat().st_size for each in self.path.rglob("*") if each.is_file())


@dataclass(frozen=True)
class Failure:
    """An input that could not be read, while others were.

    Attributes
    ----------
    path
        Where it lies.
    kind
        The class of the error.
    found, expected, fix
        What was met, what would have been right, and what to do.
    """

    path: str
    kind: str
    found: str
    expected: str
    fix: str

    @classmethod
    def of(cls, path: Path | str, error: RankformerError) -> "Failure":
        """Describe an error that an input made."""
        return cls(str(path), type(error).__name__, error.found, error.expected, error.fix)


@dataclass(frozen=True)
class NextStep:
    """What can be done next.

    Attributes
    ----------
    why
        What it is for: a sentence without its end.
    argv
        A command that works as it stands.
    python
        Lines of Python in its place.
    """

    why: str
    argv: tuple[str, ...] = ()
    python: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """What a command made.

    Attributes
    ----------
    written
        Files and folders.
    figures
        Name → number, text, or a mapping of such.
    tables
        Name → rows, each a mapping of column → value.
    told
        Texts for a terminal, such as the most frequent labels. The figures hold the same.
    next_steps
        How to go on.
    screen
        Prints the result of a command that is for reading, such as ``inspect``.
    sources
        The inputs as they were opened, with their gene mappings.
    failures
        Inputs that could not be read and were left out.
    """

    written: tuple[Written, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[Any, Any]]] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    next_steps: tuple[NextStep, ...] = ()
    screen: Callable[[], None] | None = None
    sources: Sequence[Any] = ()
    failures: Sequence[Failure] = ()
