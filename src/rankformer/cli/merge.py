"""``rankformer merge``."""

from dataclasses import replace

from rankformer.cli.next_steps import after_merging
from rankformer.runs.settings import MergeJob
from rankformer.summary import Summary


def merge(job: MergeJob) -> Summary:
    """Join the shards of a long run to one file, and check that every cell is there once.

    A run whose output is a folder, `rankformer embed FILES -o FOLDER`, writes shards, which several
    jobs of a cluster can share out with --shard. Nothing is held in memory as a whole but the obs
    of the cells.
    """
    from rankformer.merge import merge_run

    summary = merge_run(job)
    return replace(summary, next_steps=after_merging(job.output))
