"""Shards computed by the workers of a Ray cluster."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rankformer.cores import usable_cores
from rankformer.errors import SettingsError, WorkerError
from rankformer.extras import install_command
from rankformer.progress import Progress
from rankformer.runs.engines.assignments import MOST_DEATHS_IN_A_ROW, Assignments
from rankformer.runs.engines.ray_address import expect_an_answer
from rankformer.runs.engines.ray_resources import Resources, find_resources
from rankformer.runs.engines.ray_workers import ModelWorker, Outcome, encode
from rankformer.runs.engines.recipes import WorkElsewhere
from rankformer.runs.engines.relayed_logs import RelayedLogs, level_of_log
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import Shard

logger = logging.getLogger(__name__)
T = TypeVar("T")
# The one that is computed, and the next, which is encoded meanwhile.
_MOST_IN_FLIGHT = 2
_SECONDS_OF_A_LOOK = 1.0
_SECONDS_UNTIL_TOLD = 30.0


@contextmanager
def connected(settings: RunSettings) -> Iterator[None]:
    """Connect to the cluster, or start Ray on this machine where there is none, for a while.

    A connection that there is already is used, and kept. Ray sends no statistics of its use.

    Raises
    ------
    SettingsError
        If Ray is not installed, or the cluster does not answer.
    """
    ray = _import_ray()
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = settings.address or os.environ.get("RAY_ADDRESS")
    if address:
        expect_an_answer(address)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    here = {
        "address": "local", "num_cpus": usable_cores(), "include_dashboard": False,
        # On few cores Ray ends the processes that read after each shard, and each new one imports
        # for seconds.
        "_system_config": {"num_workers_soft_limit": 4 * usable_cores()},
    }  # fmt: skip
    with _signals_kept():
        try:
            ray.init(**({"address": address} if address else here), **quiet)
        # A wrong address, a cluster of another version, or no room: each raises another error.
        except Exception as error:
            raise SettingsError(
                f"Ray could not be reached at {address or 'this machine'}: {str(error)[:300]}.",
                "The address of a cluster that runs, with the same versions of Python and Ray.",
                "Check address (--address), and the cluster with `ray status`.",
            ) from error
    try:
        yield
    finally:
        with _signals_kept():
            ray.shutdown()


def ask_on_ray(question: Callable[[str], T], settings: RunSettings, device: str) -> T:
    """What a function says where a worker would run.

    Parameters
    ----------
    question
        Called with the device of a worker.
    settings
        Of the run.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    RankformerError
        That which it raises.
    """
    ray = _import_ray()
    with connected(settings):
        found = find_resources(ray.nodes(), settings, device)
        asked = ray.remote(num_cpus=0, num_gpus=found.gpus_of_worker)(question)
        try:
            with _stops_as_they_are():
                answer: T = ray.get(asked.remote(found.device))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        return answer


def compute_on_ray(
    work: WorkElsewhere, assignments: Assignments, settings: RunSettings, progress: Progress
) -> None:
    """Compute shards on a cluster: tasks read and encode, actors compute and write.

    At most two encoded shards for each worker are on their way. A worker that is lost, with its
    node or alone, is told and replaced, and its shards are given out again.

    Parameters
    ----------
    work
        What they do.
    assignments
        The shards.
    settings
        Address, and number and GPUs of the workers.
    progress
        Told of the cells that are done, shard by shard.

    Raises
    ------
    RankformerError
        If the model fails, a shard cannot be written, a worker does not see the run's folder, or
        workers are lost again and again.
    """
    ray = _import_ray()
    with connected(settings):
        found = find_resources(ray.nodes(), settings, work.recipe.device)
        pool = _Pool(ray, work, assignments, found, progress)
        try:
            pool.run()
        finally:
            pool.end()


@dataclass(eq=False)
class _Worker:
    """A place for an actor: one after the other, where they are lost.

    Attributes
    ----------
    actor, starting
        That of now, and the answer that is awaited of its start, or None when it came.
    computing
        Shards that it has, in order, with the answers that are awaited.
    is_alone
        Whether it is to get no further one meanwhile.
    n_deaths
        Actors that were lost since the last shard that was done here.
    """

    actor: Any = None
    starting: Any = None
    computing: list[tuple[Shard, Any]] = field(default_factory=list)
    is_alone: bool = False
    n_deaths: int = 0


class _Pool:
    """Gives out shards to actors and hears of them, until none is left."""

    def __init__(
        self,
        ray: Any,
        work: WorkElsewhere,
        assignments: Assignments,
        found: Resources,
        progress: Progress,
    ) -> None:
        self._ray, self._assignments, self._progress = ray, assignments, progress
        self._work = ray.put(work)
        self._found, self._level = found, level_of_log()
        # Their errors come back as values: what is raised is a fault of the program, and final.
        self._actors = ray.remote(
            num_cpus=found.cpus_of_worker, num_gpus=found.gpus_of_worker, max_restarts=0,
            max_task_retries=0, scheduling_strategy="SPREAD",
        )(ModelWorker)  # fmt: skip
        # Where the workers have all CPUs, it must not wait for one: how many run is bounded here.
        self._encode = ray.remote(
            num_cpus=found.cpus_of_reading, max_retries=1, scheduling_strategy="SPREAD"
        )(encode)
        self._workers = [_Worker() for _ in range(found.n_workers)]
        # Shard → its tokens, which are encoded while the first workers load the model.
        self._ahead: dict[Shard, Any] = {}
        self._logs, self._last = RelayedLogs(), time.monotonic()

    def run(self) -> None:
        for worker in self._workers[: self._assignments.n_left]:
            self._start(worker)
        firsts = self._assignments.first(len(self._workers))
        self._ahead = {shard: self._encode_shard(shard) for shard in firsts}
        while self._assignments.n_left or any(each.computing for each in self._workers):
            awaited: dict[Any, _Worker] = {}
            for worker in self._workers:
                self._give(worker)
                own = [worker.starting, *(answer for _, answer in worker.computing)]
                awaited |= {answer: worker for answer in own if answer is not None}
            if not awaited:
                raise WorkerError(
                    f"Each worker of Ray (of {len(self._workers)}) was lost "
                    f"{MOST_DEATHS_IN_A_ROW} times in a row without doing a shard.",
                    "Workers that run until there is no work left.",
                    "Look at the warnings above and at `ray status`; then give the same command "
                    "again, which goes on from here.",
                )
            with _stops_as_they_are():
                ready, _ = self._ray.wait(list(awaited), timeout=_SECONDS_OF_A_LOOK)
            self._tell_waiting(is_waiting=not ready)
            for answer in ready:
                self._hear(awaited[answer], answer)

    def end(self) -> None:
        """End the actors that there still are."""
        for worker in self._workers:
            self._kill(worker)

    def _start(self, worker: _Worker) -> None:
        worker.actor = self._actors.remote(self._level)
        worker.starting = worker.actor.start.remote(
            self._work, self._found.device, self._found.threads_of_worker
        )

    def _give(self, worker: _Worker) -> None:
        """Give shards to a worker that runs, and have them encoded."""
        if worker.actor is None or worker.starting is not None:
            return
        while len(worker.computing) < _MOST_IN_FLIGHT and not worker.is_alone:
            given = self._assignments.take(is_idle=not worker.computing)
            if given is None:
                return
            worker.is_alone = given.alone
            encoded = self._ahead.pop(given.shard, None) or self._encode_shard(given.shard)
            answer = worker.actor.compute.remote(given.shard, encoded)
            worker.computing.append((given.shard, answer))

    def _encode_shard(self, shard: Shard) -> Any:
        return self._encode.remote(self._work, shard, self._level)

    def _hear(self, worker: _Worker, answer: Any) -> None:
        errors = self._ray.exceptions
        try:
            with _stops_as_they_are():
                outcome = self._ray.get(answer)
        except errors.RayActorError as error:
            self._bury(worker, error)
            return
        except errors.RayTaskError as error:
            if not isinstance(error.cause, errors.RayError):
                raise error.cause from error
            self._take_back(worker, answer, error.cause)
            return
        except errors.RayError as error:
            self._take_back(worker, answer, error)
            return
        self._answered(worker, answer, outcome)

    def _answered(self, worker: _Worker, answer: Any, outcome: Outcome) -> None:
        for record in outcome.log:
            self._logs.tell(record)
        if outcome.error is not None:
            raise outcome.error
        if answer == worker.starting:
            worker.starting = None
            return
        shard = self._remove(worker, answer)
        worker.n_deaths = 0
        if outcome.failed is None:
            self._progress(len(shard))
        elif isinstance(outcome.failed, WorkerError):
            raise outcome.failed
        else:
            self._assignments.set_aside(shard.input, outcome.failed)

    def _remove(self, worker: _Worker, answer: Any) -> Shard:
        (shard,) = [each for each, own in worker.computing if own == answer]
        worker.computing = [each for each in worker.computing if each[1] != answer]
        worker.is_alone = worker.is_alone and bool(worker.computing)
        return shard

    def _take_back(self, worker: _Worker, answer: Any, error: Exception) -> None:
        """The tokens of a shard were lost, or the process that encoded it: the actor is well."""
        how = _in_short(error)
        if answer == worker.starting:
            self._bury(worker, error)
            return
        shard = self._remove(worker, answer)
        logger.warning("A task of Ray that read cells was lost (%s). They are read again.", how)
        self._assignments.worker_died([shard], f"was lost: {how}")

    def _bury(self, worker: _Worker, error: Exception) -> None:
        """Replace an actor that was lost, on a node that there still is."""
        how = _in_short(error)
        given = [shard for shard, _ in worker.computing]
        self._kill(worker)
        worker.computing, worker.is_alone, worker.n_deaths = [], False, worker.n_deaths + 1
        is_given_up = worker.n_deaths >= MOST_DEATHS_IN_A_ROW
        logger.warning(
            "A worker of Ray was lost (%s). %s", how,
            "It is not replaced." if is_given_up else
            f"It is replaced. What it had open is computed again: {len(given)} shards.",
        )  # fmt: skip
        self._assignments.worker_died(given, f"was lost: {how}")
        if not is_given_up and self._assignments.n_left:
            self._start(worker)

    def _kill(self, worker: _Worker) -> None:
        if worker.actor is not None:
            self._ray.kill(worker.actor, no_restart=True)
        worker.actor, worker.starting = None, None

    def _tell_waiting(self, *, is_waiting: bool) -> None:
        now = time.monotonic()
        if not is_waiting:
            self._last = now
            return
        waiting = sum(each.starting is not None for each in self._workers)
        if waiting and now - self._last > _SECONDS_UNTIL_TOLD:
            self._last = now
            logger.warning(
                "%d of %d workers of Ray have not started yet: the cluster has no %s free. See "
                "`ray status`.",
                waiting, len(self._workers), self._found.what_a_worker_takes,
            )  # fmt: skip


def _in_short(error: Exception) -> str:
    """The first line of what Ray says, which fills a page."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back the handlers of signals, in whose place Ray puts its own."""
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {each: signal.getsignal(each) for each in numbers}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _stops_as_they_are() -> Iterator[None]:
    """Raise what the handler of a signal raised while Ray waited: Ray makes it a SystemError."""
    try:
        yield
    except SystemError as error:
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise SettingsError(
            "The engine ray was asked for, and Ray is not installed.",
            "Ray, which starts workers on the machines of a cluster.",
            f"Install it with `{install_command('ray')}`, or leave engine (--engine) out.",
        ) from error
    return ray
