"""The inputs of a run, as its manifest binds them."""

import hashlib
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rankformer.cells.tenx import find_matrix_files, is_beside_matrix

_HEADER_BYTES = 2**16


@dataclass(frozen=True)
class InputFile:
    """An input as it was when the run began.

    Attributes
    ----------
    path
        Where it lies, from the root.
    n_bytes
        Its size; of a folder that of all files in it.
    modified
        When it was changed last, as ISO 8601; of a folder the newest of its files.
    header_sha256
        Hash of its first 64 KiB; of a folder that of the names and sizes of its files.
    n_cells
        Its cells.
    source
        What was read of it and how, for the provenance of the result.
    """

    path: str
    n_bytes: int
    modified: str
    header_sha256: str
    n_cells: int = 0
    source: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, n_cells: int = 0, source: dict[str, Any] | None = None) -> "InputFile":
        """Describe a file or folder as it is now."""
        path = path.resolve()
        n_bytes, modified, header = _look_at_folder(path) if path.is_dir() else _look_at_file(path)
        when = datetime.fromtimestamp(modified, UTC).isoformat(timespec="microseconds")
        return cls(str(path), n_bytes, when, header, n_cells, source or {})

    @classmethod
    def unread(cls, path: Path) -> "InputFile":
        """Describe one that could not be read, of which perhaps not even the beginning can be."""
        try:
            return cls.of(path)
        except OSError:
            return cls(str(path.resolve()), 0, "", "")

    @property
    def identity(self) -> list[Any]:
        """What tells it from others, and from itself when it was changed; plain values."""
        return [self.path, self.n_bytes, self.modified, self.header_sha256]

    def differs_from(self, other: "InputFile") -> str | None:
        """What is another than it was, in a few words; None where nothing is."""
        own, theirs = asdict(self), asdict(other)
        names = {"n_bytes": "size", "modified": "time of change", "header_sha256": "beginning"}
        odd = [words for key, words in names.items() if own[key] != theirs[key]]
        return " and ".join(odd) or None

    def advice_where_touched(self, now: "InputFile") -> str | None:
        """How to go on with a file of which the time of change alone is another; None for others.

        Of a folder it is not said, as of its files nothing but names and sizes is known.
        """
        is_touched = replace(now, modified=self.modified).differs_from(self) is None
        if not is_touched or now.modified == self.modified or Path(self.path).is_dir():
            return None
        # Elsewhere touch takes no such time, or there is none.
        if not sys.platform.startswith("linux"):
            return None
        try:
            seconds = datetime.fromisoformat(self.modified).timestamp()
        # A manifest may hold anything.
        except (ValueError, OverflowError, OSError):
            return None
        return (
            f"The contents of {self.path} seem unchanged, as its size and its beginning are what "
            f"they were. If you know that they are, set the time back with `touch -d "
            f"@{seconds:.6f} {shlex.quote(self.path)}`."
        )


def _look_at_file(path: Path) -> tuple[int, float, str]:
    found = path.stat()
    with path.open("rb") as stream:
        header = hashlib.sha256(stream.read(_HEADER_BYTES)).hexdigest()
    return found.st_size, found.st_mtime, header


def _look_at_folder(path: Path) -> tuple[int, float, str]:
    n_bytes, newest, header = 0, 0.0, hashlib.sha256()
    for file in _files_of(path):
        # A link that leads nowhere is none of the files that are read.
        found = file.stat() if file.exists() else file.lstat()
        n_bytes, newest = n_bytes + found.st_size, max(newest, found.st_mtime)
        header.update(f"{file.relative_to(path)}\t{found.st_size}\n".encode())
    return n_bytes, newest, header.hexdigest()


def _files_of(path: Path) -> Iterator[Path]:
    """Of a 10x folder the files that are read: results are often written beside them."""
    matrices = find_matrix_files(path)
    if len(matrices) == 1:
        yield from sorted(
            each for each in path.iterdir() if each in matrices or is_beside_matrix(each)
        )
        return
    for folder, inner, names in os.walk(path):
        inner.sort()
        yield from (Path(folder, name) for name in sorted(names))
