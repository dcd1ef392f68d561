"""In silico perturbation of files: counts in, a Parquet table of responses out."""

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.model.device import list_devices
from rankformer.perturb.exact import ExactPerturber, dtype_of_read_out
from rankformer.perturb.perturbation_runs import perturbation_run
from rankformer.perturb.row_names import name_rows
from rankformer.perturb.run import PerturbationRun
from rankformer.perturb.screen import Screen
from rankformer.perturb.settings import Perturbation, PerturbJob, affected_beside
from rankformer.perturb.shard_tables import write_perturbations
from rankformer.perturb.table import PerturbationTable, gather
from rankformer.ragged import Ragged
from rankformer.results.output_checks import check_target
from rankformer.runs.run import remove_run
from rankformer.runs.targets import check_run_target
from rankformer.runs.told import run_summary
from rankformer.summary import Summary
from rankformer.tokens.edits import Edits
from rankformer.tokens.joined_sources import check_inputs_stay
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import open_tokens, opened_sources

# Of a table compressed: 30 to 37 in three tables of all genes of 30 to 266 cells.
_BYTES_A_ROW = 35
_EDITS_TIMED, _CELLS_TIMED = 64, 4


@dataclass(frozen=True)
class Estimate:
    """What a run would take.

    Attributes
    ----------
    n_cells, n_passes
        Cells perturbed, and cells that run through the model exactly: each unperturbed, and each
        edit; of a screen those that correct it, and those that are run exactly after it.
    seconds
        On this machine, from a few cells.
    n_bytes
        Of the output, about.
    is_screen
        Whether most edits are estimated.
    """

    n_cells: int
    n_passes: int
    seconds: float
    n_bytes: int
    is_screen: bool = False


def perturb_files(
    job: PerturbJob,
    model: str | os.PathLike[str],
    options: ReadingOptions | None = None,
    **settings: Any,
) -> Summary:
    """Perturb the cells of files into one table, which appears whole or not at all.

    What is in memory at once does not grow with the cells or the perturbations. What a run that was
    stopped had done lies beside the output, in ``NAME.parts``, and the same command goes on with
    it. An output without an ending is a folder of shards.

    Parameters
    ----------
    job
        Inputs, output, and what is done.
    model
        A published name or a folder, also one that ``finetune`` wrote.
    options
        Where counts and genes lie, for all inputs.
    **settings
        Settings of the `Embedder`.

    Returns
    -------
    What was written, with the inputs as they were opened.

    Raises
    ------
    RankformerError
        If input, model, settings and output do not go together.
    """
    target = check_run_target(job.output, job.run, (".parquet",), overwrite=job.overwrite)
    if job.perturbation.read_out == "gene" and not target.is_folder:
        check_target(affected_beside(job.output), (".parquet",), job.overwrite)
    with perturbation_run(target, job, model, options, settings) as under_way:
        run, inputs = under_way.run, under_way.inputs
        if not target.is_folder:
            check_inputs_stay(job.output, inputs.streams)
        shards = under_way.compute()
        figures = {"model": under_way.perturbing.embedder.checkpoint.name}
        if target.is_folder or inputs.failures:
            return run_summary(run, shards, inputs, figures)
        written, more = write_perturbations(run, shards, job.output, overwrite=job.overwrite)
        remove_run(run)
    return Summary(tuple(written), more | figures, sources=inputs.streams)


def perturb_in_memory(
    adata: AnnData,
    embedder: Embedder,
    perturbation: Perturbation,
    options: ReadingOptions | None = None,
    *,
    attributes: Mapping[str, str] | None = None,
    n_affected: int | None = 100,
) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Any]]:
    """Perturb the cells of AnnData.

    Returns
    -------
    The table; that of affected genes with the read-out ``"gene"``; and provenance, with the trust
    of a screen.
    """
    with closing(open_tokens(adata, embedder.checkpoint.vocabulary, options)) as stream:
        names = name_rows([stream], attributes or {})
        run = PerturbationRun([stream], embedder, perturbation)
        run.use_states(run.embed_states())
        table = PerturbationTable(run, names)
        rows, affected = [], []
        for part in run.perturb():
            rows.append(table.columns(part))
            if perturbation.read_out == "gene":
                affected.append(table.affected(part, n_affected or None))
        provenance = run.describe()
        if run.screen is not None:
            provenance["trust"] = run.screen.trust.figures()
    return gather(rows), gather(affected) if affected else None, provenance


def estimate_files(
    job: PerturbJob,
    model: str | os.PathLike[str],
    options: ReadingOptions | None = None,
    **settings: Any,
) -> Estimate:
    """Say what `perturb_files` would take, from the tokens of all cells and a few edits run.

    Raises
    ------
    RankformerError
        As `perturb_files`.
    """
    with ExitStack() as stack:
        streams, embedder = _open(job, model, options, settings, stack)
        run = PerturbationRun(streams, embedder, job.perturbation)
        run.use_states(run.embed_states())
        n_edits = n_cells = 0
        n_tokens_of_cells = n_tokens_of_edits = 0
        paces: tuple[float, float] | None = None
        for _, ragged in run.blocks():
            edits = run.plan(ragged, run.asked)
            n_edits += len(edits)
            n_cells += len(ragged[1]) - 1
            n_tokens_of_cells += len(ragged[0])
            n_tokens_of_edits += int(edits.lengths.sum())
            if paces is None and len(edits):
                paces = _seconds_a_token(run, ragged, edits)
        if paces is None:
            raise SettingsError(
                "No cell expresses a gene that could be perturbed so.",
                "Cells that express the genes named.",
                "Name other genes or cells.",
            )
        if run.screen is None:
            seconds = paces[0] * (n_tokens_of_cells + n_tokens_of_edits)
            return Estimate(run.n_cells, n_cells + n_edits, seconds, n_edits * _BYTES_A_ROW)
        # At most: not every cell has all of the best genes.
        n_again = (run.perturbation.top or 0) * min(
            run.perturbation.exact_cells or n_cells, n_cells
        )
        seconds = n_tokens_of_cells * (paces[1] + paces[0] * n_again / n_cells)
        n_passes = n_cells * (1 + run.screen.settings.n_exact) + n_again
        return Estimate(
            run.n_cells, n_passes, seconds, (n_edits + n_again) * _BYTES_A_ROW, is_screen=True
        )


def describe_estimate(estimate: Estimate, output: Path) -> str:
    """Say what a run would take, and whether the disk has room for it."""
    from rich.filesize import decimal

    free = shutil.disk_usage(output.parent if str(output.parent) else Path()).free
    runs = f"{estimate.n_passes:,} forward passes"
    if estimate.is_screen:
        runs = f"a screen with {estimate.n_passes:,} exact runs"
    return (
        f"{estimate.n_cells:,} cells are to be perturbed, in {runs}. On this machine that takes "
        f"about {_duration(estimate.seconds)}, as measured on a few of them; the table will be "
        f"about {decimal(estimate.n_bytes)} large, and the disk has {decimal(free)} free."
    )


def _open(
    job: PerturbJob,
    model: str | os.PathLike[str],
    options: ReadingOptions | None,
    settings: dict[str, Any],
    stack: ExitStack,
) -> tuple[list[TokenSource], Embedder]:
    checkpoint = Checkpoint.open(model)
    streams = stack.enter_context(opened_sources(job.sources, checkpoint.vocabulary, options))
    dtype = dtype_of_read_out(job.perturbation.read_out, settings.get("dtype", "auto"))
    devices = list_devices(settings.get("device", "auto"))
    here = {"device": devices[0]} if devices else {}
    return streams, Embedder(checkpoint, **{**settings, **here, "dtype": dtype})


def _seconds_a_token(run: PerturbationRun, ragged: Ragged, edits: Edits) -> tuple[float, float]:
    """The pace of exact runs for each token that is run, and of a screen for each of the cells'."""
    chosen = np.linspace(0, len(edits) - 1, min(_EDITS_TIMED, len(edits))).astype(np.int64)
    own = edits.select(chosen)
    exact = _seconds(run.exact, ragged, own) / int(own.lengths.sum())
    if run.screen is None:
        return exact, 0.0
    own = edits.select(np.flatnonzero(edits.cells < edits.cells[0] + _CELLS_TIMED))
    n_tokens = int(np.diff(ragged[1])[np.unique(own.cells)].sum())
    return exact, _seconds(run.screen, ragged, own) / n_tokens


def _seconds(perturber: ExactPerturber | Screen, ragged: Ragged, edits: Edits) -> float:
    """What some edits take; the first time, which compiles and fills caches, does not count."""
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        for _ in perturber.run(ragged, edits):
            pass
        seconds = time.perf_counter() - began
    return seconds


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
