"""A command as a process: logging, memory, and an end by a signal."""

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from rankformer.cli.wrapping import WrappingHandler


def set_up_logging(level: int) -> None:
    handler = WrappingHandler()
    handler.addFilter(_ToldOnce())
    logger = logging.getLogger("rankformer")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


class _ToldOnce(logging.Filter):
    """Lets each warning through once: several inputs often have the same to say."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        message = record.getMessage()
        is_new = message not in self._told
        self._told.add(message)
        return is_new


def wait_idly() -> None:
    """Let torch's threads sleep while they wait for each other, unless the user says otherwise.

    Threads that wait busily take the cores from other programs and, where there are such, from each
    other. It is read when torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


# New objects before Python looks among them for garbage, in the place of 700.
_OBJECTS_BETWEEN_COLLECTIONS = 10_000


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Spare a process that imports much most of the search for garbage, and all of it at its end.

    Imports make hundreds of thousands of objects that stay. Looking through all of them takes a
    quarter of the time of a command on few cells.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        # Frozen objects are not looked through when the interpreter ends.
        gc.freeze()


@contextmanager
def uncollected_imports() -> Iterator[None]:
    """Import without any search for garbage; what imports make is not looked through later."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


class Stopped(BaseException):
    """Ctrl-C, or a scheduler ends the job; typer would end silently at a KeyboardInterrupt."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Unwind at SIGINT and SIGTERM, so that what is half-written is removed."""

    def stop(number: int, _: object) -> NoReturn:
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


_SECONDS_TO_END = 8.0
# A process of its own, as a library may spin without ever letting Python see the signal.
_GUARD = """
import os, select, signal, sys, time
pipe, process, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
until = None
while True:
    left = None if until is None else max(until - time.monotonic(), 0)
    if not select.select([pipe], [], [], left)[0]:
        break
    numbers = os.read(pipe, 64)
    if not numbers:
        sys.exit()
    if until is None and {signal.SIGINT, signal.SIGTERM} & set(numbers):
        until = time.monotonic() + seconds
sys.stderr.write("Interrupted, and ended by force: it did not stop by itself.\\n")
os.kill(process, signal.SIGKILL)
"""


@contextmanager
def ended_in_time(seconds: float = _SECONDS_TO_END) -> Iterator[None]:
    """End this process by force where it still runs some seconds after SIGINT or SIGTERM.

    Damaged files can make HDF5 spin for ever. What was half-written then stays beside the output,
    never under its name, as after any kill.
    """
    if os.name != "posix" or not sys.executable:
        yield
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    guard = subprocess.Popen(  # noqa: S603  # this interpreter, and numbers
        [sys.executable, "-I", "-S", "-c", _GUARD, str(read_end), str(os.getpid()), str(seconds)],
        pass_fds=(read_end,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    os.close(read_end)
    inherited = [write_end]
    os.register_at_fork(after_in_child=lambda: _leave_to_parent(inherited))
    # The numbers of signals are written to the pipe as they come, whatever the interpreter does.
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        inherited.clear()
        os.close(write_end)
        # Children that still hold the pipe would keep it waiting.
        guard.kill()
        guard.wait()


def _leave_to_parent(inherited: Sequence[int]) -> None:
    """In a child that was forked: signals that come to it are not for its parent."""
    for write_end in inherited:
        signal.set_wakeup_fd(-1)
        os.close(write_end)
