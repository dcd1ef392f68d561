"""What is left of a run is done: its shards computed, its failures kept."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

from rankformer.cores import usable_cores
from rankformer.errors import OutputError, SettingsError
from rankformer.progress import Progress, show_progress
from rankformer.runs.compute import ShardTask, compute_shards
from rankformer.runs.engines.assignments import Assignments
from rankformer.runs.engines.recipes import Recipe, WorkElsewhere
from rankformer.runs.failures import keep_failures, kept_failures
from rankformer.runs.run import Run
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import Shard
from rankformer.runs.sources import RunInputs
from rankformer.stages import Stages

logger = logging.getLogger(__name__)
# Seconds of work of which it is told where they went.
_LONG = 10.0


def engine_ready(settings: RunSettings) -> AbstractContextManager[None]:
    """Hold the connection to the cluster open, if one computes, for all of a run."""
    if settings.engine != "ray":
        return nullcontext()
    from rankformer.runs.engines.ray_engine import connected

    return connected(settings)


def do_shards(
    run: Run,
    shards: Sequence[Shard],
    inputs: RunInputs,
    task: ShardTask | Recipe,
    settings: RunSettings,
    what: str,
    devices: Sequence[str] = (),
) -> Stages | None:
    """Compute those of some shards that are not done yet.

    Parameters
    ----------
    run
        Of which they are.
    shards
        All that this process is to see done.
    inputs
        Of the run; its `failures` gain those that cannot be read.
    task
        Computes one, or makes what does: other processes need a `Recipe`.
    settings
        Which engine computes, and whether to end at the first failure.
    what
        What is done, for the progress, such as "Embedding cells".
    devices
        Those on which worker processes of this machine compute, one each; none for this process.

    Returns
    -------
    How long the stages worked and waited, where they are of this process.

    Raises
    ------
    RankformerError
        If the model fails, a shard cannot be written, or the task cannot be sent to workers.
    """
    todo = [shard for shard in shards if not run.is_done(shard)]
    n_cells, n_left = (sum(map(len, each)) for each in (shards, todo))
    if len(todo) < len(shards):
        logger.info(
            "%s of %s shards were done before, in %s; the others are done now.",
            f"{len(shards) - len(todo):,}", f"{len(shards):,}", run.folder,
        )  # fmt: skip
    stages: Stages | None = None
    with show_progress(n_cells, what, n_before=n_cells - n_left) as progress:
        try:
            if todo:
                stages = _compute(run, todo, inputs, task, settings, devices, progress)
        except BaseException:
            # With them it is known, later, which inputs may be mended.
            with suppress(OutputError):
                keep_failures(run.folder, (), inputs.failures)
            raise
    keep_failures(run.folder, _mended(run), inputs.failures)
    if stages is not None and stages.seconds >= _LONG:
        logger.info("%s", stages)
    return stages


def _mended(run: Run) -> list[int]:
    """Those inputs that failed before, of which all is done now: another share may fail at one."""
    failed = kept_failures(run.folder)
    left = {
        shard.input for shard in run.shards()
        if shard.input in failed and not run.is_done(shard)
    }  # fmt: skip
    return [index for index in failed if index not in left and run.has_cells(index)]


def _compute(
    run: Run,
    shards: Sequence[Shard],
    inputs: RunInputs,
    task: ShardTask | Recipe,
    settings: RunSettings,
    devices: Sequence[str],
    progress: Progress,
) -> Stages | None:
    """Choose the engine."""
    fail_fast = settings.fail_fast
    if settings.engine == "local" and not devices:
        here = task.start("auto", usable_cores()) if isinstance(task, Recipe) else task
        return compute_shards(run, shards, inputs, here, progress, fail_fast=fail_fast)
    if not isinstance(task, Recipe):
        raise SettingsError(
            f"This work, {run.manifest.work.task}, was asked of "
            f"{'Ray' if settings.engine == 'ray' else 'several devices'}.",
            "One process here: it cannot be shared out to others yet.",
            "Leave engine (--engine) out, and pass one device (--device). To use several "
            "processes, give each a share of the work (--shard 1/2, --shard 2/2).",
        )
    assignments = Assignments(shards, inputs, fail_fast=fail_fast)
    if settings.engine == "ray":
        from rankformer.runs.engines.ray_engine import compute_on_ray

        compute_on_ray(WorkElsewhere.of(run, inputs, task), assignments, settings, progress)
        return None
    from rankformer.runs.engines.processes import compute_in_processes

    work = WorkElsewhere.of(run, inputs, task, len(devices))
    compute_in_processes(work, devices, assignments, progress)
    return None
