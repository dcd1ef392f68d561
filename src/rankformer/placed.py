"""Results that a run put in place of its parts, known again where it was killed before its end.

A run whose output is a file keeps its parts beside it, and removes them last. Before the file gets
its name, it is noted among the parts which file that is. What lies at the output and is of the note
was put there by this run, and has not been changed since; what is of no note is the user's.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

PARTS = ".parts"
_NOTE = "placed.json"
_parts: ContextVar[Path | None] = ContextVar("parts", default=None)


@contextmanager
def placed_by(folder: Path) -> Iterator[None]:
    """Results beside a folder of parts are of the run whose parts these are, for a while.

    Parameters
    ----------
    folder
        Of the parts. Nothing is noted in the folder of a run whose shards are its output.
    """
    before = _parts.set(folder if folder.name.endswith(PARTS) else None)
    try:
        yield
    finally:
        _parts.reset(before)


def note_placing(part: Path, path: Path) -> None:
    """Note that a file or folder, which is whole, is to be named `path` by the run at work, if any.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    folder = _parts.get()
    if folder is None or not _is_beside(folder, path):
        return
    known = _read(folder)
    # Those before stay: this process may be killed before the one is in the place of the other.
    known[path.name] = [*known.get(path.name, []), _identity(part)]
    half = folder / f"{_NOTE}.part"
    half.write_text(json.dumps(known) + "\n", encoding="utf-8")
    half.replace(folder / _NOTE)


def is_of_this_run(path: Path) -> bool:
    """Whether the run at work put in place what is at `path`, before it was killed."""
    folder = _parts.get()
    return folder is not None and _is_beside(folder, path) and _is_noted(folder, path)


def is_of_a_run(path: Path) -> bool:
    """Whether a run whose parts are still there put in place what is at `path`."""
    return any(_is_noted(folder, path) for folder in path.parent.glob(f"*{PARTS}"))


def forget_placing(folder: Path) -> None:
    """Delete the note, where the run begins anew: what lies at the output is then none of its own.

    Raises
    ------
    OSError
        If it cannot be deleted.
    """
    (folder / _NOTE).unlink(missing_ok=True)


def _is_beside(folder: Path, path: Path) -> bool:
    return folder.parent.resolve() == path.parent.resolve()


def _is_noted(folder: Path, path: Path) -> bool:
    try:
        return _identity(path) in _read(folder).get(path.name, [])
    except OSError:
        return False


def _read(folder: Path) -> dict[str, list[Any]]:
    """Name → identities; of a note that is not there or damaged nothing."""
    try:
        found = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_sound = isinstance(found, dict) and all(isinstance(each, list) for each in found.values())
    return found if is_sound else {}


def _identity(path: Path) -> list[int]:
    """What stays when a file or folder gets another name, and does not when it is changed."""
    own = path.lstat()
    if not path.is_dir() or path.is_symlink():
        return [own.st_ino, own.st_size, own.st_mtime_ns]
    files = [Path(folder, name).lstat() for folder, _, names in os.walk(path) for name in names]
    newest = max((each.st_mtime_ns for each in files), default=0)
    return [own.st_ino, sum(each.st_size for each in files), newest, len(files)]
