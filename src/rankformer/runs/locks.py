"""One run at a time on an output: locks that a living process holds, with the name of their owner.

The system lets go of a lock when its process ends, however it ends: a dead owner's lock is free.
"""

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from rankformer.errors import OutputError
from rankformer.printable import printable
from rankformer.runs.shards import Share

logger = logging.getLogger(__name__)
_WHOLE = "whole"
# Those that begin at the same time try each other's locks for a moment.
_SECONDS_OF_A_TRY = 2.0
_SECONDS_UNTIL_TOLD = 5.0


@contextmanager
def locked(folder: Path, share: Share | None) -> Iterator[None]:
    """Hold the lock of a run, whole or a share of it, on its folder.

    Raises
    ------
    OutputError
        If another process does the same work at this time: the whole run and a share of it, one
        share twice, or shares of two divisions.
    """
    name = _WHOLE if share is None else f"share-{share.number}-of-{share.of}"
    lock = FileLock(folder / f"{name}.lock", is_singleton=False)
    try:
        _take(lock, folder, name, timeout=0 if share is not None else _SECONDS_OF_A_TRY)
        for other in _others(folder, share):
            theirs = FileLock(folder / f"{other}.lock", is_singleton=False)
            _take(theirs, folder, other, timeout=_SECONDS_OF_A_TRY)
            theirs.release()
        _note_owner(folder, name)
        yield
    finally:
        if lock.is_locked:
            _forget_owner(folder, name)
        lock.release()


@contextmanager
def taking_turns(folder: Path, name: str, doing: str) -> Iterator[None]:
    """Hold a lock that shares of a run hold one after the other; it is said for whom one waits.

    Parameters
    ----------
    folder
        Of the run.
    name
        Of the lock.
    doing
        What the one does that holds it, such as "looks at the inputs".
    """
    lock = FileLock(folder / f"{name}.lock", is_singleton=False)
    try:
        lock.acquire(timeout=_SECONDS_UNTIL_TOLD)
    except Timeout:
        logger.info(
            "%s %s of the run in %s. This one waits until that is done.",
            _describe_owner(folder, name), doing, printable(str(folder)),
        )  # fmt: skip
        lock.acquire()
    try:
        _note_owner(folder, name)
        yield
    finally:
        _forget_owner(folder, name)
        lock.release()


def _others(folder: Path, share: Share | None) -> list[str]:
    """Names of the locks that must be free: for the whole all shares', for a share the whole's.

    And those of another division of the work, which does the same shards.
    """
    shares = sorted(file.stem for file in folder.glob("share-*.lock"))
    if share is None:
        return shares
    return [_WHOLE, *(each for each in shares if not each.endswith(f"-of-{share.of}"))]


def _take(lock: FileLock, folder: Path, name: str, timeout: float) -> None:
    try:
        lock.acquire(timeout=timeout, poll_interval=0.05)
    except Timeout as error:
        raise OutputError(
            f"{_describe_owner(folder, name)} is at work on {folder} at this time.",
            "One run at a time on an output, or each share once.",
            "Wait until it has ended, end it, or choose another output.",
        ) from error
    except FileNotFoundError as error:
        raise OutputError(
            f"Another run, which was at work on {folder}, has ended and removed it.",
            "One run at a time on an output, or each share once.",
            "Look at what it wrote, and give the command again if that is not what you want.",
        ) from error


def _describe_owner(folder: Path, name: str) -> str:
    what = f"A run of {name.replace('-', ' ')}" if name.startswith("share-") else "Another run"
    try:
        owner = json.loads(_owner_file(folder, name).read_text(encoding="utf-8"))
        return f"{what} (process {owner['pid']} on {owner['host']}, begun {owner['begun']})"
    except (OSError, ValueError, KeyError, TypeError):
        return what


def _note_owner(folder: Path, name: str) -> None:
    """Say who holds a lock; on a full disk the lock holds without it."""
    with suppress(OSError):
        _owner_file(folder, name).write_text(json.dumps(_this_process()) + "\n", encoding="utf-8")


def _forget_owner(folder: Path, name: str) -> None:
    """Remove the note of this process: where the folder was removed, another may have its own."""
    file, own = _owner_file(folder, name), _this_process()
    with suppress(OSError, ValueError, KeyError, TypeError):
        noted = json.loads(file.read_text(encoding="utf-8"))
        if all(noted[each] == own[each] for each in ("pid", "host")):
            file.unlink()


def _owner_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.owner.json"


def _this_process() -> dict[str, object]:
    host = ""
    with suppress(OSError):
        host = socket.gethostname()
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": host, "begun": begun, "program": Path(sys.argv[0]).name}
