"""Disk for results on their way: taken before it is written to, and no result left half-written.

A full disk must be met by a call that can fail: where a page of a mapped file has no room the
system ends the process, and HDF5 that cannot write what it holds does so when it is closed.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import OutputError


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` at the end, or vanishes on an error."""
    part = path.with_name(path.name + ".part")
    _remove(part)
    try:
        yield part
        _take_place(part, path)
    except OSError as error:
        raise OutputError(
            f"{path} could not be written: {error}.",
            "Enough free disk, and permission to write.",
            "Free space, or choose another output.",
        ) from error
    finally:
        _remove(part)


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


def _take_place(part: Path, path: Path) -> None:
    if not path.is_dir():
        part.replace(path)
        return
    # A folder is not replaced in one step: the old one stays beside until the new one is there.
    old = path.with_name(path.name + ".old")
    _remove(old)
    path.rename(old)
    part.replace(path)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
