"""What is left of a run is done: its shards computed, its failures kept."""

import logging
from collections.abc import Sequence

from rankformer.progress import show_progress
from rankformer.runs.compute import ShardTask, compute_shards
from rankformer.runs.failures import keep_failures
from rankformer.runs.run import Run
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import Shard
from rankformer.runs.sources import RunInputs

logger = logging.getLogger(__name__)


def do_shards(
    run: Run,
    shards: Sequence[Shard],
    inputs: RunInputs,
    task: ShardTask,
    settings: RunSettings,
    what: str,
) -> None:
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
        Computes one.
    settings
        Whether to end at the first failure.
    what
        What is done, for the progress, such as "Embedding cells".

    Raises
    ------
    RankformerError
        If the model fails, or a shard cannot be written.
    """
    todo = [shard for shard in shards if not run.is_done(shard)]
    n_cells, n_left = (sum(map(len, each)) for each in (shards, todo))
    if len(todo) < len(shards):
        logger.info(
            "%s of %s shards were done before, in %s; the others are done now.",
            f"{len(shards) - len(todo):,}", f"{len(shards):,}", run.folder,
        )  # fmt: skip
    with show_progress(n_cells, what, n_before=n_cells - n_left) as progress:
        compute_shards(run, todo, inputs, task, progress, fail_fast=settings.fail_fast)
    tried = {shard.input for shard in shards}
    keep_failures(run.folder, tried, inputs.failures)
