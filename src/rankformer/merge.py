"""The shards of a run joined to one result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rankformer.annotate.files import merge_annotation
from rankformer.embed.files import merge_embeddings
from rankformer.errors import OutputError
from rankformer.finetuning.predict import merge_predictions
from rankformer.perturb.shard_tables import merge_perturbations
from rankformer.runs.failures import kept_failures
from rankformer.runs.run import Run
from rankformer.runs.settings import MergeJob
from rankformer.runs.shards import Shard
from rankformer.runs.token_runs import merge_tokens
from rankformer.runs.told import count_cells
from rankformer.summary import Failure, Summary

_MOST_TOLD = 5
_Merge = Callable[[Run, Sequence[Shard], MergeJob], Summary]
_MERGES: Mapping[str, _Merge] = {
    "embed": merge_embeddings,
    "annotate": merge_annotation,
    "predict": merge_predictions,
    "perturb": merge_perturbations,
    "tokenize": merge_tokens,
}


def merge_run(job: MergeJob) -> Summary:
    """Join the shards of a run to one result, some rows at a time.

    It is checked that every cell of every input is there, once.

    Parameters
    ----------
    job
        The folder of the run, and what to write.

    Returns
    -------
    What was written; with `partial` also the inputs that could not be read.

    Raises
    ------
    OutputError
        If shards are missing or damaged, and `partial` is not given; it says which. If the output
        cannot be written, or the inputs are no longer what they were where obs is read from them.
    """
    run = Run.read(job.folder)
    task = run.manifest.work.task
    if task not in _MERGES:
        raise OutputError(
            f"{job.folder} holds a run of {task!r}.",
            f"A run of {', '.join(_MERGES)}.",
            "Use the version of rankformer that wrote it.",
        )
    _check_inputs_stay(run, job)
    shards = run.shards()
    done = [shard for shard in shards if run.is_done(shard)]
    _check_whole(run, done, job)
    if not done:
        raise OutputError(
            f"{job.folder} holds no shard that is done.",
            "At least one.",
            "Give the command of the run again, which goes on with it.",
        )
    return replace(_MERGES[task](run, done, job), failures=_failures(run, done))


def _check_inputs_stay(run: Run, job: MergeJob) -> None:
    """Refuse to replace an input, from which the obs of the cells is read."""
    output = job.output.resolve()
    if any(Path(each.path) == output for each in run.manifest.inputs):
        raise OutputError(
            f"The output {job.output} is one of the inputs of the run.",
            "Another name: inputs are only read.",
            "Choose another output.",
        )


def _failures(run: Run, done: Sequence[Shard]) -> list[Failure]:
    """Those that are missing from the result; others may have been mended meanwhile."""
    known = set(done)
    left = {shard.input for shard in run.shards() if shard not in known}
    kept = kept_failures(run.folder)
    return [each for index, each in kept.items() if index in left or not run.has_cells(index)]


def _check_whole(run: Run, done: Sequence[Shard], job: MergeJob) -> None:
    """Refuse a run of which something is missing, unless that is wanted."""
    known = set(done)
    missing = [shard for shard in run.shards() if shard not in known]
    inputs = run.manifest.inputs
    unread = [each.path for each in inputs if not each.n_cells]
    if job.partial or not (missing or unread):
        return
    places = [
        f"cells {shard.start:,} to {shard.stop - 1:,} of {inputs[shard.input].path}"
        + (f" in step {shard.step + 1}" if shard.step else "")
        for shard in missing[:_MOST_TOLD]
    ]
    told = [*places, *(f"all of {path}, which could not be read" for path in unread[:_MOST_TOLD])]
    n_more = len(missing) + len(unread) - len(told)
    more = f", and {n_more:,} more" if n_more else ""
    raise OutputError(
        f"Of the run in {job.folder} {len(missing):,} of {len(run.shards()):,} shards are missing, "
        f"with {count_cells(missing):,} of {count_cells(run.shards()):,} cells: "
        f"{'; '.join(told)}{more}.",
        "All of them, so that every cell is in the result.",
        "Give the command of the run again, which goes on with it, with each share that has not "
        "ended; or pass --partial to merge what is there.",
    )
