"""The table of a perturbation, read from the shards of a run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankformer.perturb.best_genes import MeanEffects
from rankformer.perturb.genes import nothing_perturbed
from rankformer.perturb.settings import affected_beside
from rankformer.perturb.trust import Trust
from rankformer.results.output_checks import check_target
from rankformer.results.parquet_tables import write_tables
from rankformer.runs.run import Run
from rankformer.runs.settings import MergeJob
from rankformer.runs.shards import Shard
from rankformer.summary import Summary, Written

if TYPE_CHECKING:
    import pyarrow as pa

AFFECTED, TRUST, SCREEN = "affected", "trust", "screen"
"""Kinds of a shard's files beside the main one."""
GROUP_BYTES = 4 * 2**20


def rank_genes(run: Run, shards: Sequence[Shard], n_best: int, effect: str | None) -> list[str]:
    """The perturbations of largest mean effect over the cells of a screen.

    Parameters
    ----------
    run, shards
        Of the screen, all done.
    n_best
        How many.
    effect
        The column of the effect; None for the movement.

    Returns
    -------
    Their names, as in the column ``ensembl_id``.
    """
    means: MeanEffects[str] = MeanEffects()
    for group in _groups(run, shards):
        values = group[effect].to_numpy() if effect else 1 - group["cosine"].to_numpy()
        means.add(group["ensembl_id"].to_pylist(), values.tolist())
    return means.best(n_best)


def read_trust(run: Run, shards: Sequence[Shard]) -> Trust:
    """What all shards of a screen say of its estimates."""
    trust = Trust(run.manifest.notes["n_states"])
    for group in _groups(run, shards, TRUST):
        trust.add_columns({name: group[name].to_numpy() for name in group.column_names})
    return trust


def has_rows(run: Run, shards: Sequence[Shard]) -> bool:
    """Whether anything was perturbed."""
    return any(run.n_rows(shard) for shard in shards)


def write_perturbations(
    run: Run, shards: Sequence[Shard], output: Path, *, overwrite: bool
) -> tuple[list[Written], dict[str, Any]]:
    """Write the table of shards that are done, and beside it that of affected genes.

    Returns
    -------
    What was written, and figures of it.

    Raises
    ------
    OutputError
        If it cannot be written, or a shard cannot be read.
    """
    notes, inputs = run.manifest.notes, run.manifest.inputs
    sources = {str(i): dict(each.source) for i, each in enumerate(inputs)}
    provenance = {**notes["provenance"], "sources": sources}
    told: dict[str, Any] = {}
    if notes["is_screen"]:
        trust = read_trust(run, [shard for shard in shards if shard.step == 0])
        trust.tell()
        told["trust"] = trust.figures()
    n_rows = write_tables(
        output, _groups(run, shards), provenance,
        notes=told, group_bytes=GROUP_BYTES, overwrite=overwrite,
    )  # fmt: skip
    n_cells = notes["provenance"]["n_cells"]
    written = [Written(output, f"{n_rows:,} perturbations of {n_cells:,} cells")]
    figures = {"n_cells": n_cells, "n_perturbations": n_rows}
    if notes["has_affected"]:
        beside = affected_beside(output)
        n_affected = write_tables(
            beside, _groups(run, shards, AFFECTED), provenance,
            group_bytes=GROUP_BYTES, overwrite=overwrite,
        )  # fmt: skip
        written.append(Written(beside, f"{n_affected:,} affected genes"))
        figures["n_affected_genes"] = n_affected
    return written, figures


def merge_perturbations(run: Run, shards: Sequence[Shard], job: MergeJob) -> Summary:
    """Write the table of shards that are done; see `merge_run`."""
    check_target(job.output, (".parquet",), job.overwrite)
    if run.manifest.notes["has_affected"]:
        check_target(affected_beside(job.output), (".parquet",), job.overwrite)
    if not has_rows(run, shards):
        raise nothing_perturbed(sum(len(shard) for shard in shards if shard.step == 0))
    written, figures = write_perturbations(run, shards, job.output, overwrite=job.overwrite)
    return Summary(tuple(written), figures)


def _groups(run: Run, shards: Sequence[Shard], kind: str = "") -> "Iterator[pa.Table]":
    for shard in shards:
        yield from run.row_groups(shard, kind)
