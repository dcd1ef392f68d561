"""Disk for results on their way: taken before it is written to, and no result left half-written.

A full disk must be met by a call that can fail: where a page of a mapped file has no room the
system ends the process, and HDF5 that cannot write what it holds does so when it is closed.

What is on its way lies in a folder of its own beside the target, so that two runs with one target
never meet: ``NAME.xxxxxxxx.part``. Only a run that is killed leaves one.
"""

import errno
import logging
import mmap
import os
import re
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import OutputError, RankformerError
from rankformer.placed import is_of_this_run, note_placing
from rankformer.printable import printable

logger = logging.getLogger(__name__)

_PART = ".part"
# What file systems without hard links answer.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, on the same disk, which no other run has; removed at the end.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    with as_output_error(target):
        folder = tempfile.TemporaryDirectory(
            prefix=f"{target.name}.", suffix=_PART, dir=target.parent, ignore_cleanup_errors=True
        )
    with folder as name:
        yield Path(name)


@contextmanager
def whole_or_nothing(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A path to write a file or a folder to; it becomes `path` at the end, or vanishes on an error.

    Without `overwrite`, what has appeared at `path` meanwhile is not touched, unless the run at
    work put it there itself and was killed before its end.

    Raises
    ------
    OutputError
        If it cannot be written, or `path` is taken.
    """
    with scratch_folder(path) as folder, as_output_error(path):
        part = folder / path.name
        yield part
        is_own = is_of_this_run(path)
        note_placing(part, path)
        if is_own:
            logger.info(
                "%s was there already, as this run had written it when it was ended. It was "
                "written again from its parts.", printable(str(path)),
            )  # fmt: skip
        if overwrite or is_own:
            _replace(part, path)
        else:
            _take_free_name(part, path)


def make_folder(path: Path) -> None:
    """Make a folder with those above it, unless it is there.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    with as_output_error(path):
        path.mkdir(parents=True, exist_ok=True)


def tell_leftovers(path: Path) -> None:
    """Say which folders of other runs, at work or killed, lie beside an output."""
    pattern = re.compile(re.escape(path.name) + r"\.[a-z0-9_]{8}" + re.escape(_PART))
    for each in sorted(path.parent.iterdir()):
        if pattern.fullmatch(each.name):
            logger.warning(
                "%s was left by another run with this output, which is at work or was killed: "
                "remove it if no such run is at work.", printable(str(each)),
            )  # fmt: skip


def scratch_array(file: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A float32 array mapped from a new file.

    Raises
    ------
    OutputError
        If the disk has no room for it. Nothing is left.
    """
    n_bytes = 4 * max(shape[0], 1) * shape[1]
    try:
        file.write_bytes(b"")
        take_disk(file, n_bytes)
        os.truncate(file, n_bytes)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise OutputError(
            f"{n_bytes / 1e6:,.1f} MB of temporary disk are needed in {file.parent}: {error}.",
            "Enough free disk: 4 bytes for each dimension of each vector.",
            "Free space, or choose another output.",
        ) from error
    return np.memmap(file, np.float32, "r+", shape=(max(shape[0], 1), shape[1]))[: shape[0]]


def release_pages(array: NDArray[Any]) -> None:
    """Give back the memory of all pages of the file that `array` is mapped from.

    The file holds what was written to them; but once touched, they count as this process's memory
    for as long as they are mapped. Nothing is done where the system has no such call, with an
    array in memory, and with copy-on-write, whose changes no file holds.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap) and owner.mode == "c":
            return
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def blocks_of_rows(
    array: NDArray[Any], multiple_of: int = 1, n_rows: int = 8192
) -> Generator[slice, None, None]:
    """Slices of about `n_rows` rows, to be written one by one; pages of each are then given back.

    All but the last hold a multiple of `multiple_of` rows, such as the chunks of a file have.
    """
    n_rows = max(n_rows // multiple_of, 1) * multiple_of
    for start in range(0, len(array), n_rows):
        yield slice(start, min(start + n_rows, len(array)))
        release_pages(array)


def take_disk(file: Path, n_bytes: int) -> None:
    """Lengthen `file` by zeros that have their place on the disk, where the system can.

    Raises
    ------
    OSError
        If there is no room.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with file.open("ab") as stream:
        try:
            os.posix_fallocate(stream.fileno(), stream.tell(), n_bytes)
        except OSError as error:
            # Some network file systems do not know the call.
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise


@contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Turn what the system refuses while `path` is written into an `OutputError`."""
    try:
        yield
    except RankformerError:
        # Some are errors of the system too, and say more.
        raise
    except OSError as error:
        raise OutputError(
            f"{path} could not be written: {error}.",
            "Enough free disk, and permission to write.",
            "Free space, or choose another output.",
        ) from error


def _take_free_name(part: Path, path: Path) -> None:
    """Unlike a check before a rename, linking and renaming of folders refuse what is there."""
    try:
        if part.is_dir():
            part.rename(path)
        else:
            _link(part, path)
    except OSError as error:
        if not os.path.lexists(path):
            raise
        raise OutputError(
            f"{path} has appeared while this run was at work, and is left as it is.",
            "A name that stays free until the end.",
            "Choose another name, or remove what is there.",
        ) from error


def _link(part: Path, path: Path) -> None:
    try:
        path.hardlink_to(part)
    except OSError as error:
        if error.errno not in _NO_LINKS or os.path.lexists(path):
            raise
        part.rename(path)


def _replace(part: Path, path: Path) -> None:
    if not (path.exists() and (path.is_dir() or part.is_dir())):
        part.replace(path)
        return
    # A folder is not replaced in one step: the old one lies in ours until the new one is there.
    old = part.with_name(f"{path.name}.old")
    path.rename(old)
    try:
        part.rename(path)
    except BaseException:
        old.rename(path)
        raise


def check_free(path: str | os.PathLike[str]) -> Path:
    """Refuse a folder to write to that is there already, or has no place to be in."""
    path = Path(path)
    if is_of_this_run(path):
        return path
    if path.exists() or not path.parent.is_dir():
        raise OutputError(
            f"{path} exists already." if path.exists() else f"There is no folder {path.parent}.",
            "A folder that is not there yet, within one that is.",
            "Choose another name, or move the old one away.",
        )
    return path
