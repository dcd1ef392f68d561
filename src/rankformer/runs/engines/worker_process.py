"""A worker process: computes the shards that it is given, and tells of them through a pipe."""

import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import NoReturn

from rankformer.errors import RankformerError
from rankformer.runs.compute import compute_shards
from rankformer.runs.engines.recipes import WorkElsewhere
from rankformer.runs.engines.relayed_logs import relay_logs
from rankformer.runs.shards import Shard
from rankformer.runs.sources import RunInputs
from rankformer.summary import Failure

_PR_SET_PDEATHSIG = 1
_STATUS_OF_CUDA_ERROR = 70


@dataclass(frozen=True, eq=False)
class Began:
    """What a worker is told first.

    Attributes
    ----------
    work
        What it does.
    device, n_threads
        On which device, by how many threads of the CPU.
    level
        From which on its log is told.
    """

    work: WorkElsewhere
    device: str
    n_threads: int
    level: int


class _Parent:
    """The process that gives out shards: what it is told, by several threads."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def tell(self, *message: object) -> None:
        with self._lock:
            self._pipe.send(message)

    def hear(self) -> object:
        return self._pipe.recv()

    def shards(self) -> Iterator[Shard]:
        """Those that it gives, each when it is asked for the next."""
        while True:
            self.tell("next")
            shard = self.hear()
            if not isinstance(shard, Shard):
                return
            yield shard


class _ToldInputs(RunInputs):
    """Inputs of which those that fail are told to the parent, which sets them aside."""

    def __init__(self, work: WorkElsewhere, parent: _Parent) -> None:
        super().__init__(work.paths, work.vocabulary, work.options)
        self._parent = parent

    def set_aside(self, index: int, error: RankformerError) -> None:
        self.failures[index] = Failure.of(self.paths[index], error)
        self._parent.tell("failed", index, error)


def work_in_process(pipe: Connection) -> None:
    """Compute shards until the parent gives no more; the main function of a worker.

    Parameters
    ----------
    pipe
        To the parent: it sends `Began` first, and a `Shard`, or None for the end, whenever it is
        asked for the next.
    """
    _end_with_parent()
    _unwind_at_sigterm()
    # Read when torch is loaded, which what comes through the pipe does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parent = _Parent(pipe)
    began = parent.hear()
    assert isinstance(began, Began)  # noqa: S101  # it is sent first
    relay_logs(lambda record: parent.tell("log", record), began.level)
    try:
        _compute(began, parent)
    except RankformerError as error:
        parent.tell("error", error)
    except (BrokenPipeError, EOFError):
        sys.exit(1)
    except Exception as error:
        _end_by(error, parent)
    else:
        parent.tell("end")


def _compute(began: Began, parent: _Parent) -> None:
    work = began.work
    task = work.recipe.start(began.device, began.n_threads)

    def told(n_cells: int) -> None:
        parent.tell("progress", n_cells)

    with closing(_ToldInputs(work, parent)) as inputs:
        compute_shards(
            work.run, parent.shards(), inputs, task, told,
            done=lambda shard: parent.tell("done", shard),
        )  # fmt: skip


def _end_by(error: Exception, parent: _Parent) -> None:
    """A GPU that failed is of no more use to this process; any other error ends the run."""
    if isinstance(error, RuntimeError) and "CUDA" in str(error):
        sys.stderr.write(f"{traceback.format_exc()}\n")
        sys.exit(_STATUS_OF_CUDA_ERROR)
    error.add_note(f"In a worker process:\n{traceback.format_exc()}")
    try:
        parent.tell("error", error)
    # Some errors cannot be pickled.
    except (TypeError, AttributeError, ValueError):
        parent.tell("error", RuntimeError(traceback.format_exc()))


def _end_with_parent() -> None:
    """End this process when its parent does, even where a library never lets Python run."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_parent, name="rankformer-parent", daemon=True).start()


def _watch_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _unwind_at_sigterm() -> None:
    """SIGTERM unwinds, so that what is half-written is removed; SIGINT is the parent's."""

    def stop(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
