"""The shards of a run joined to one result."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rankformer.annotate.files import merge_annotation
from rankformer.embed.files import merge_embeddings
from rankformer.errors import OutputError, SettingsError
from rankformer.finetuning.predict import merge_predictions
from rankformer.perturb.shard_tables import merge_perturbations
from rankformer.runs.failures import kept_failures
from rankformer.runs.locks import taking_turns
from rankformer.runs.run import Run
from rankformer.runs.run_folders import PLAN, is_described_aside, put_back_described
from rankformer.runs.settings import MergeJob
from rankformer.runs.shards import Shard
from rankformer.runs.token_runs import merge_tokens
from rankformer.runs.told import count_cells
from rankformer.summary import Failure, Summary

logger = logging.getLogger(__name__)

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
    SettingsError
        If a key is given where the result has none.
    OutputError
        If shards are missing or damaged, and `partial` is not given; it says which. If the output
        cannot be written, or the inputs are no longer what they were where obs is read from them.
    """
    _mend_restart(job.folder)
    run = Run.read(job.folder)
    task = run.manifest.work.task
    if task not in _MERGES:
        raise OutputError(
            f"{job.folder} holds a run of {task!r}.",
            f"A run of {', '.join(_MERGES)}.",
            "Use the version of rankformer that wrote it.",
        )
    run.manifest.expect_values(job.folder)
    _check_key_is_read(run, job)
    _check_output(run, job)
    shards = run.shards()
    done = [shard for shard in shards if run.is_done(shard)]
    _check_whole(run, done, job)
    if not done:
        raise OutputError(
            f"{job.folder} holds no shard that is done.",
            "At least one.",
            "Give the command of the run again, which goes on with it.",
        )
    summary = replace(_MERGES[task](run, done, job), failures=_failures(run, done))
    n_missing = count_cells(run.shards()) - count_cells(done)
    if not n_missing:
        return summary
    logger.warning(
        "%s of %s cells are missing from %s, as their shards are: %s.",
        f"{n_missing:,}", f"{count_cells(run.shards()):,}", job.output, _places(run, done),
    )  # fmt: skip
    return replace(summary, figures={**summary.figures, "n_cells_missing": n_missing})


def _mend_restart(folder: Path) -> None:
    """Put back what a run that was killed as it began anew had set aside; of one at work, wait."""
    if is_described_aside(folder):
        with taking_turns(folder, PLAN, "begins the run anew"):
            put_back_described(folder)


def _check_key_is_read(run: Run, job: MergeJob) -> None:
    """Refuse a name for what the result does not have."""
    work = run.manifest.work
    if job.key is None or (work.task == "embed" and work.options["mode"] != "gene"):
        return
    of_genes = " of the vectors of genes" if work.task == "embed" else ""
    raise SettingsError(
        f"key (--key) is given as {job.key!r}, and {job.folder} holds a run of "
        f"`rankformer {work.task}`{of_genes}, whose result has no such name.",
        "key with embeddings of cells, which stand in obsm under this name.",
        "Leave key (--key) out.",
    )


def _check_output(run: Run, job: MergeJob) -> None:
    """Refuse to replace an input, from which the obs of the cells is read, or a result."""
    if job.output.exists() and not job.overwrite:
        raise OutputError(
            f"{job.output} exists already.",
            "A name that is free, so that nothing is lost.",
            "Choose another name, or move the old one away."
            if run.manifest.work.task == "tokenize"
            else "Choose another name, or pass --overwrite.",
        )
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
    every = run.shards()
    n_missing = len(every) - len(done)
    unread = [each.path for each in run.manifest.inputs if not each.n_cells]
    if not (n_missing or unread):
        return
    if job.partial:
        _expect_names(job)
        return
    found, fixes = [], []
    if n_missing:
        n_cells = count_cells(every) - count_cells(done)
        found.append(
            f"Of the run in {job.folder} {n_missing:,} of {len(every):,} shards are missing, with "
            f"{n_cells:,} of {count_cells(every):,} cells: {_places(run, done)}."
        )
        fixes.append("Give the command again for what is missing: the run, or shares of it.")
    if unread:
        found.append(f"{_some(unread)} could not be read when the run was at work.")
        fixes.append("Mend what could not be read, and give the command of the run again.")
    fixes.append("To merge what is there, pass --partial.")
    raise OutputError(
        " ".join(found), "All cells of all inputs, so that none is lost unseen.", " ".join(fixes)
    )


def _expect_names(job: MergeJob) -> None:
    """Refuse a format that does not say which cells it has, where not all are in it."""
    if job.output.suffix == ".npy":
        raise OutputError(
            f"A part of the cells would be written to {job.output}, which has no names of cells.",
            "A format with names: .h5ad, .zarr, .parquet or .csv.",
            "Choose another output.",
        )


def _places(run: Run, done: Sequence[Shard]) -> str:
    """The cells of the shards that are missing, neighbouring ones together."""
    known, joined = set(done), list[Shard]()
    for shard in run.shards():
        if shard in known:
            continue
        last = joined[-1] if joined else None
        if last and (last.step, last.input, last.stop) == (shard.step, shard.input, shard.start):
            joined[-1] = replace(last, stop=shard.stop)
        else:
            joined.append(shard)
    inputs = run.manifest.inputs
    return _some([
        f"cells {each.start:,} to {each.stop - 1:,} of {inputs[each.input].path}"
        + (f" in step {each.step + 1}" if each.step else "")
        for each in joined
    ])  # fmt: skip


def _some(texts: Sequence[str]) -> str:
    n_more = len(texts) - _MOST_TOLD
    more = f"; and {n_more:,} more" if n_more > 0 else ""
    return "; ".join(texts[:_MOST_TOLD]) + more
