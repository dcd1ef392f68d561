"""HDF5 files are tried in a process that can be given up on, before they are opened in this one.

Damage can make the HDF5 library compute for ever, or crash. It holds Python's lock meanwhile, so
that no signal, thread or time limit within the process ends it.
"""

import ctypes
import faulthandler
import gc
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from rankformer.cells.hdf5_walk import register_filters, walk_hdf5
from rankformer.errors import CountsError, SettingsError

SECONDS_VARIABLE = "RANKFORMER_OPENING_SECONDS"
# Seconds of the processor, of which waiting for slow storage takes none: a sound file takes some
# hundredths, and 2 million texts take one.
_SECONDS, _BYTES_A_SECOND = 10.0, 10 << 20
# On the clock it may take so many times as long.
_PATIENCE = 30
# Of a file so small, all is tried at once.
_SMALL_BYTES = 16 << 20
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05
_PR_SET_PDEATHSIG = 1
_PARTS = "parts"
_ALONE = "import sys; from rankformer.cells.hdf5_trial import walk_alone; walk_alone(*sys.argv[1:])"


@dataclass(frozen=True)
class _End:
    """How a trial ended.

    Attributes
    ----------
    status
        Its exit status, below 0 for a signal; None where it was given up on.
    seconds
        What it took of the processor.
    """

    status: int | None
    seconds: float = 0.0


def try_hdf5(path: Path, parts: Collection[str] | None = None) -> None:
    """Walk through an HDF5 file in another process, within a time that grows with its size.

    What is merely wrong with it is not told: opening it tells that.

    Parameters
    ----------
    path
        The file.
    parts
        See `walk_hdf5`.

    Raises
    ------
    CountsError
        If the HDF5 library finds no end, or crashes.
    SettingsError
        If the environment variable RANKFORMER_OPENING_SECONDS is no number of seconds.
    """
    about = path.stat()
    wanted = None if parts is None or about.st_size <= _SMALL_BYTES else tuple(sorted(parts))
    _try_once(path, (about.st_size, about.st_mtime_ns, about.st_ino, about.st_dev), wanted)


@lru_cache(maxsize=1000)
def _try_once(path: Path, version: tuple[int, ...], parts: tuple[str, ...] | None) -> None:
    """Try a version of a file, by its size and more; where that is sound, it is not tried again."""
    seconds = seconds_allowed(version[0])
    # Elsewhere a process with threads may not be copied, and a new one is started.
    begin = _forked if sys.platform == "linux" else _started
    try:
        end = begin(str(path), parts, seconds)
    except OSError:
        return  # There is no room for another process.
    if end.status is None or (end.status < 0 and end.seconds >= seconds - 1):
        raise _no_end(path, seconds, end.seconds)
    if not 0 <= end.status <= 255:  # Windows has large numbers in place of signals.
        raise _crash(path, end.status)


def seconds_allowed(n_bytes: int) -> float:
    """Seconds of the processor that opening a file of a size may take."""
    return _base_seconds() + n_bytes / _BYTES_A_SECOND


def _base_seconds() -> float:
    given = os.environ.get(SECONDS_VARIABLE, str(_SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise SettingsError(
            f"The environment variable {SECONDS_VARIABLE} is {given!r}.",
            "A number of seconds above 0, such as 60.",
            f"Correct it, or remove it for {_SECONDS:g} seconds.",
        )
    return seconds


def _no_end(path: Path, seconds: float, computed: float) -> CountsError:
    longer = f"set the environment variable {SECONDS_VARIABLE} to more than {_base_seconds():g}"
    if computed < seconds - 1:
        return CountsError(
            f"{path} could not be opened within {seconds * _PATIENCE:,.0f} seconds, which were "
            "spent waiting for its storage.",
            "Storage that answers.",
            f"Copy the file to a disk of this machine. Where its storage only is slow, {longer}.",
        )
    return CountsError(
        f"{path} could not be opened within {seconds:,.0f} seconds of computing, and was given up "
        "on: most likely it is damaged.",
        "A whole, undamaged file, which takes a small part of that time.",
        f"Copy or download the file again. Where it is whole for certain, {longer}.",
    )


def _crash(path: Path, status: int) -> CountsError:
    names = {-each: each.name for each in signal.Signals}
    name = names.get(status, str(status))
    if name == "SIGKILL":
        return CountsError(
            f"The process that tried to open {path} was killed, as the system does when memory "
            "runs out.",
            "Memory for the names and labels of its cells and genes.",
            "Free memory, or ask the scheduler for more, and run this again.",
        )
    return CountsError(
        f"{path} could not be opened: the HDF5 library crashed on it ({name}), in a process of "
        "its own.",
        "A whole, undamaged file.",
        "Copy or download the file again.",
    )


def _forked(path: str, parts: Collection[str] | None, seconds: float) -> _End:
    """A copy of this process walks through the file, which takes some milliseconds."""
    register_filters()
    owner, child, end = os.getpid(), 0, _End(None)
    # No signal that comes meanwhile is handled in the copy, where it would clean up after us.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():
            # Python and others warn of copies that use threads; this one uses none.
            warnings.simplefilter("ignore")
            child = os.fork()
        if not child:
            _walk_in_copy(path, parts, seconds, owner)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        end = _wait(lambda: _ask_after(child), seconds * _PATIENCE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if child and end.status is None:
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
                _wait(lambda: _ask_after(child), 1.0)
    return end


def _walk_in_copy(path: str, parts: Collection[str] | None, seconds: float, owner: int) -> NoReturn:
    # Nothing of what the copied process holds is closed, removed or written out here.
    try:
        gc.disable()
        signal.set_wakeup_fd(-1)
        faulthandler.disable()
        _end_with(owner)
        _limit_processor(seconds)
        with Path(os.devnull).open("wb", buffering=0) as silence:
            os.dup2(silence.fileno(), 1)
            os.dup2(silence.fileno(), 2)
        walk_hdf5(path, parts)
    finally:
        os._exit(0)


def _end_with(owner: int) -> None:
    """Have the system end this process when the one that it is a copy of is killed."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner:
        os._exit(0)


def _ask_after(child: int) -> _End | None:
    try:
        ended, status, usage = os.wait4(child, os.WNOHANG)
    except ChildProcessError:
        return _End(0)  # Someone else has asked, or the system was told to forget.
    if not ended:
        return None
    return _End(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)


def _started(path: str, parts: Collection[str] | None, seconds: float) -> _End:
    """A new interpreter walks through the file, which takes some tenths of a second."""
    if not sys.executable:
        return _End(0)
    names = [] if parts is None else [_PARTS, *parts]
    # -P: nothing is imported from the folder in which the command is run.
    command = [sys.executable, "-P", "-c", _ALONE, str(seconds), path, *names]
    silence: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    child = subprocess.Popen(command, **silence)  # noqa: S603  # this interpreter, and a path
    try:
        return _wait(lambda: _look_after(child, seconds), seconds * _PATIENCE)
    finally:
        child.kill()
        with suppress(subprocess.TimeoutExpired):
            child.wait(1)


def _look_after(child: "subprocess.Popen[bytes]", seconds: float) -> _End | None:
    import psutil

    status = child.poll()
    if status is not None:
        return _End(status)
    spent = 0.0
    with suppress(psutil.Error):
        times = psutil.Process(child.pid).cpu_times()
        spent = times.user + times.system
    return _End(None, spent) if spent > seconds else None


def walk_alone(seconds: str, path: str, *parts: str) -> None:
    """Walk through a file in a process that is there for nothing else."""
    # Its parent ends it in time, unless that is no more.
    _limit_processor(2 * float(seconds))
    walk_hdf5(path, parts[1:] if parts[:1] == (_PARTS,) else None)


def _limit_processor(seconds: float) -> None:
    """Have the system end this process after so many seconds, whatever becomes of its parent."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit = math.ceil(seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))


def _wait(ask: Callable[[], _End | None], seconds: float) -> _End:
    """Ask again and again, so that signals are seen in between."""
    until, pause = time.monotonic() + seconds, _SHORTEST_PAUSE
    while (end := ask()) is None:
        if time.monotonic() > until:
            return _End(None)
        time.sleep(pause)
        pause = min(1.3 * pause, _LONGEST_PAUSE)
    return end
