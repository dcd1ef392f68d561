"""What a run whose output is a folder, or that could not do all, says at its end."""

from collections.abc import Sequence
from typing import Any

from rankformer.runs.run import Run
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import Shard
from rankformer.runs.sources import RunInputs
from rankformer.summary import Summary, Written


def own_shards(run: Run, settings: RunSettings) -> list[Shard]:
    """Those of a run's shards that a process is to see done: all, or those of its share."""
    shards = run.shards()
    return shards if settings.shard is None else settings.shard.among(shards)


def run_summary(
    run: Run, shards: Sequence[Shard], inputs: RunInputs, figures: dict[str, Any]
) -> Summary:
    """What was done of a run; the shards are the result.

    Parameters
    ----------
    run
        The run.
    shards
        Those that were to be done.
    inputs
        Its inputs, with those that failed.
    figures
        What else is to be told.
    """
    done = [shard for shard in shards if run.is_done(shard)]
    every = run.shards()
    of_run = "" if len(shards) == len(every) else f" of this share; the run has {len(every):,}"
    what = f"{len(done):,} of {len(shards):,} shards{of_run}"
    told = {
        "n_cells": count_cells(every), "n_cells_done": count_cells(done),
        "n_shards": len(shards), "n_shards_done": len(done), "n_shards_of_run": len(every),
    }  # fmt: skip
    failures = [inputs.failures[index] for index in sorted(inputs.failures)]
    return Summary(
        (Written(run.folder, what),), {**figures, **told},
        sources=inputs.streams, failures=failures,
    )  # fmt: skip


def count_cells(shards: Sequence[Shard]) -> int:
    """The cells of some shards, each once: later steps have those of the first again."""
    return sum(len(shard) for shard in shards if shard.step == 0)
