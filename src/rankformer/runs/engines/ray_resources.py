"""How many workers a Ray cluster has room for, and what each of them takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from rankformer.errors import SettingsError
from rankformer.runs.settings import RunSettings


@dataclass(frozen=True)
class Resources:
    """What the workers of a run are to be.

    Attributes
    ----------
    n_workers
        How many.
    device
        On which they compute: ``"cpu"`` or ``"cuda"``.
    gpus_of_worker, cpus_of_worker
        What each takes of the cluster's count.
    cpus_of_reading
        What each task takes that reads and encodes.
    threads_of_worker
        CPU threads of each that computes on the CPU.
    """

    n_workers: int
    device: str
    gpus_of_worker: float
    cpus_of_worker: int
    cpus_of_reading: int
    threads_of_worker: int

    @property
    def what_a_worker_takes(self) -> str:
        """In words."""
        if self.gpus_of_worker:
            return f"{self.gpus_of_worker:g} GPUs"
        return f"{self.cpus_of_worker} CPUs"


def find_resources(
    nodes: Sequence[Mapping[str, Any]], settings: RunSettings, device: str
) -> Resources:
    """Share out a cluster.

    On GPUs, there is a worker for each, or for the part of one that was asked for; the CPUs are
    for the tasks that read. On CPUs, there is a worker for each node, which takes all CPUs of it;
    tasks that read take some of their time, as reading does in a single process.

    Parameters
    ----------
    nodes
        As Ray lists them.
    settings
        What was asked for.
    device
        ``"cpu"`` or ``"cuda"``, or ``"auto"`` for GPUs where the cluster has some.

    Raises
    ------
    SettingsError
        If GPUs were asked for that there are not, or that would not be used.
    """
    alive = [dict(each["Resources"]) for each in nodes if each["Alive"]]
    n_gpus = sum(each.get("GPU", 0) for each in alive)
    asked = settings.gpus_per_worker
    if asked and device == "cpu":
        raise SettingsError(
            f"{asked:g} GPUs for each worker were asked for, and the work is done on the CPU.",
            "GPUs for what computes on them: embedding, annotation, prediction and perturbation, "
            "without --device cpu.",
            "Leave gpus_per_worker (--gpus-per-worker) out.",
        )
    each = (
        asked if asked is not None else float(device == "cuda" or (n_gpus > 0 == (device == "cpu")))
    )
    if each and n_gpus < each:
        raise SettingsError(
            f"{each:g} GPUs for each worker were asked for, and the cluster has {n_gpus:g}.",
            "A cluster with GPUs.",
            "Check the cluster with `ray status`, or compute on the CPU (--device cpu).",
        )
    with_cpus = [int(each["CPU"]) for each in alive if each.get("CPU", 0) >= 1] or [1]
    if each:
        n_workers = settings.workers or max(int(n_gpus / each), 1)
        return Resources(n_workers, "cuda", each, 0, 1, max(with_cpus) // n_workers or 1)
    n_workers = settings.workers or len(with_cpus)
    threads = max(min(with_cpus) // ceil(n_workers / len(with_cpus)), 1)
    return Resources(n_workers, "cpu", 0, threads, 0, threads)
