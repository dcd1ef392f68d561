"""Worker processes of this machine, one a device, that compute the shards of a run."""

import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from rankformer.cores import usable_cores
from rankformer.errors import WorkerError
from rankformer.progress import Progress
from rankformer.runs.engines.assignments import MOST_DEATHS_IN_A_ROW, Assignments
from rankformer.runs.engines.recipes import WorkElsewhere
from rankformer.runs.engines.relayed_logs import RelayedLogs, level_of_log
from rankformer.runs.engines.worker_process import Began, work_in_process
from rankformer.runs.shards import Shard

logger = logging.getLogger(__name__)
_SECONDS_TO_END = 3.0


@dataclass(eq=False)
class _Worker:
    """A place for a process: one after the other, where they die.

    Attributes
    ----------
    number, device
        Which, from 1, and what it computes on.
    process, pipe
        Those of now, or None where none runs.
    given
        Shards that it has and did not finish.
    n_told
        Cells of these that were told as done.
    n_deaths
        Processes that died since the last shard that was done here.
    """

    number: int
    device: str
    process: SpawnProcess | None = None
    pipe: Connection | None = None
    given: list[Shard] = field(default_factory=list)
    is_alone: bool = False
    n_told: int = 0
    n_deaths: int = 0


class _Workers:
    """Gives out shards and hears of them, until none is left."""

    def __init__(
        self,
        work: WorkElsewhere,
        devices: Sequence[str],
        assignments: Assignments,
        progress: Progress,
    ) -> None:
        self._work, self._assignments, self._progress = work, assignments, progress
        self._workers = [_Worker(number, device) for number, device in enumerate(devices, 1)]
        self._n_threads = max(usable_cores() // len(devices), 1)
        self._logs = RelayedLogs()

    def run(self) -> None:
        for worker in self._workers[: self._assignments.n_left]:
            self._begin(worker)
        # After all have begun: each reads it when it is ready.
        for worker in self._workers[: self._assignments.n_left]:
            self._send_work(worker)
        while running := {each.pipe: each for each in self._workers if each.pipe is not None}:
            for pipe in wait(list(running)):
                self._hear(running[pipe])  # type: ignore[index]
        if self._assignments.n_left:
            raise WorkerError(
                f"Of each of the {len(self._workers)} worker processes, {MOST_DEATHS_IN_A_ROW} "
                "ended in a row without doing a shard.",
                "Processes that run until there is no work left.",
                "Look at the warnings above, and for messages of the operating system about memory "
                "or about the GPU; then give the same command again, which goes on from here.",
            )

    def end(self) -> None:
        """End all processes that still run, and remove what they left half-written."""
        running = [each for each in self._workers if each.process is not None]
        for worker in running:
            worker.process.terminate()  # type: ignore[union-attr]
            if worker.pipe is not None:
                worker.pipe.close()
        give_up = time.monotonic() + _SECONDS_TO_END
        for worker in running:
            process = worker.process
            assert process is not None  # noqa: S101  # those that run
            process.join(max(give_up - time.monotonic(), 0))
            if process.is_alive():
                process.kill()
                process.join()
            self._remove_half_written(worker)

    def _start(self, worker: _Worker) -> None:
        self._begin(worker)
        self._send_work(worker)

    def _begin(self, worker: _Worker) -> None:
        spawn = get_context("spawn")
        pipe, theirs = spawn.Pipe()
        name = f"rankformer-worker-{worker.number}"
        process = spawn.Process(target=work_in_process, args=(theirs,), name=name)
        worker.process, worker.pipe = process, pipe
        with _interrupts_left_to_parent():
            process.start()
        theirs.close()

    def _send_work(self, worker: _Worker) -> None:
        self._send(worker, Began(self._work, worker.device, self._n_threads, level_of_log()))

    def _hear(self, worker: _Worker) -> None:
        assert worker.pipe is not None  # noqa: S101  # it was heard
        try:
            kind, *values = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        self._answer(worker, kind, *values)

    def _answer(self, worker: _Worker, kind: str, *values: Any) -> None:
        if kind == "next":
            self._give(worker)
        elif kind == "progress":
            worker.n_told += values[0]
            self._progress(values[0])
        elif kind == "done":
            worker.given.remove(values[0])
            # Of the shards behind it some cells were told already.
            worker.n_told = max(worker.n_told - len(values[0]), 0)
            worker.n_deaths = 0
        elif kind == "failed":
            index, error = values
            self._assignments.set_aside(index, error)
            worker.given = [shard for shard in worker.given if shard.input != index]
        elif kind == "log":
            self._logs.tell(values[0])
        elif kind == "error":
            raise values[0]
        else:
            self._ended(worker)

    def _give(self, worker: _Worker) -> None:
        """Give the next shard; None ends the process."""
        given = None
        if not worker.is_alone:
            given = self._assignments.take(is_idle=not worker.given)
        if given is not None:
            worker.given.append(given.shard)
            worker.is_alone = given.alone
        self._send(worker, None if given is None else given.shard)

    def _send(self, worker: _Worker, what: object) -> None:
        # One that died is buried when its pipe is heard.
        with suppress(OSError):
            worker.pipe.send(what)  # type: ignore[union-attr]

    def _ended(self, worker: _Worker) -> None:
        """A process that got no further shard; some may have come back meanwhile."""
        self._close(worker)
        if self._assignments.n_left:
            self._start(worker)

    def _bury(self, worker: _Worker) -> None:
        process = worker.process
        self._close(worker)
        how = _describe_end(process)
        self._progress(-worker.n_told)
        self._remove_half_written(worker)
        given, worker.given = worker.given, []
        worker.n_told, worker.n_deaths = 0, worker.n_deaths + 1
        is_given_up = worker.n_deaths >= MOST_DEATHS_IN_A_ROW
        logger.warning(
            "Worker process %d, on %s, %s. %s", worker.number, worker.device, how,
            "It is not started again." if is_given_up else
            "What it had not finished is computed again, and the worker is started again.",
        )  # fmt: skip
        self._assignments.worker_died(given, how)
        if not is_given_up and self._assignments.n_left:
            self._start(worker)

    def _close(self, worker: _Worker) -> None:
        if worker.pipe is not None:
            worker.pipe.close()
        if worker.process is not None:
            worker.process.join(_SECONDS_TO_END)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        worker.process, worker.pipe, worker.is_alone = None, None, False

    def _remove_half_written(self, worker: _Worker) -> None:
        for shard in worker.given:
            file = self._work.run.file(shard)
            for left in file.parent.glob(f"{shard.name}.*.part"):
                with suppress(OSError):
                    left.unlink()


def compute_in_processes(
    work: WorkElsewhere, devices: Sequence[str], assignments: Assignments, progress: Progress
) -> None:
    """Compute shards by a worker process for each device.

    Each worker takes the next shard when it has read the last, so that a slow one holds no other
    up. One that dies is told, and started again, some times; its shards are given out again. All
    end with this process, however it ends.

    Parameters
    ----------
    work
        What they do.
    devices
        A device for each, such as ``["cuda:0", "cuda:1"]``.
    assignments
        The shards.
    progress
        Told of the cells that are done.

    Raises
    ------
    RankformerError
        If the model fails, a shard cannot be written, or workers die again and again.
    """
    workers = _Workers(work, devices, assignments, progress)
    try:
        workers.run()
    finally:
        workers.end()


@contextmanager
def _interrupts_left_to_parent() -> Iterator[None]:
    """A process that is begun meanwhile gets no SIGINT: Ctrl-C comes to all of a terminal."""
    if os.name != "posix":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _describe_end(process: SpawnProcess | None) -> str:
    status = None if process is None else process.exitcode
    if status is None:
        return "did not answer any more"
    if status < 0:
        return f"was ended by the signal {_name_of(-status)}"
    return f"ended with exit status {status}"


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
