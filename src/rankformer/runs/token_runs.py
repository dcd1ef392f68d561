"""Files of counts to a tokenized dataset on disk, in shards."""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankformer.checkpoints.model_folder import ModelFolder
from rankformer.errors import OutputError
from rankformer.placed import is_of_a_run
from rankformer.progress import Progress
from rankformer.results.output_checks import CELL_FORMATS
from rankformer.runs.compute import ShardPart, ShardResult
from rankformer.runs.engines.recipes import Recipe
from rankformer.runs.manifest import Manifest, Work
from rankformer.runs.options import plain_reading
from rankformer.runs.run import Run, open_run, remove_run
from rankformer.runs.run_folders import is_run_folder, parts_folder
from rankformer.runs.settings import MergeJob, TokenizeJob
from rankformer.runs.shards import Shard, ShardWriter
from rankformer.runs.sources import RunInputs
from rankformer.runs.targets import expect_no_other_result
from rankformer.runs.told import own_shards, run_summary
from rankformer.runs.work import do_shards
from rankformer.scratch import check_free, tell_leftovers
from rankformer.summary import Summary, Written
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import (
    expect_same_attributes,
    list_inputs,
    tell_full_inputs,
)
from rankformer.tokens.tokenized_cells import TokenizedCells, save_tokens

_CELLS_OF_A_SHARD = 8192
_NAME = "cell_name"


def tokenize_files(
    job: TokenizeJob, model: str | os.PathLike[str], options: ReadingOptions | None = None
) -> Summary:
    """Tokenize files into one dataset, which appears whole or not at all.

    All inputs are opened and checked before anything is written. Memory does not grow with the
    cells. Needs no torch.

    Parameters
    ----------
    job
        Inputs and output.
    model
        A published name or a folder, whose vocabulary is taken.
    options
        Where counts and genes lie, for all inputs.

    Returns
    -------
    What was written, with the inputs as they were opened.

    Raises
    ------
    RankformerError
        If input, model, options and output do not go together.
    """
    target = _check_output(job)
    folder = ModelFolder.open(model)
    vocabulary = folder.vocabulary
    inputs = RunInputs(
        list_inputs(job.sources), vocabulary, options,
        keep_open=target != job.output, fail_fast=job.run.fail_fast,
    )  # fmt: skip

    def describe(before: Manifest | None) -> Any:
        binding = {
            "vocabulary": vocabulary.name, "vocabulary_sha256": vocabulary.sha256,
            "input_length": vocabulary.input_length,
        }  # fmt: skip
        reading = {"reading": plain_reading(options)}
        notes = {"input_length": vocabulary.input_length, "vocabulary_sha256": vocabulary.sha256}
        cells_each = job.run.shard_cells or _CELLS_OF_A_SHARD
        found = inputs.survey(before)
        expect_same_attributes(inputs.streams)
        return Work("tokenize", binding, reading, cells_each), found, notes

    name = folder.name if isinstance(model, ModelFolder) else str(model)
    with closing(inputs), open_run(target, job.run, describe) as run:
        shards = own_shards(run, job.run)
        stages = do_shards(run, shards, inputs, TokenShards(), job.run, "Tokenizing cells")
        told = {"model": name, **({} if stages is None else stages.figures())}
        if target == job.output or inputs.failures:
            return run_summary(run, shards, inputs, told)
        written, figures = write_dataset(run, shards, job.output, name)
        remove_run(run)
    return Summary((written,), {**figures, **told}, sources=inputs.streams)


def _check_output(job: TokenizeJob) -> Path:
    """Where the shards go: to the output where shares are asked for, or else beside it."""
    if job.run.shard is not None or is_run_folder(job.output):
        return job.output
    expect_no_other_result(job.output, job.run)
    if not is_of_a_run(job.output):
        check_free(job.output)
    tell_leftovers(job.output)
    return parts_folder(job.output)


def write_dataset(
    run: Run, shards: Sequence[Shard], output: Path, model: str
) -> tuple[Written, dict[str, Any]]:
    """Join the shards of a run that is done to one dataset of Hugging Face.

    Returns
    -------
    What was written, and figures of it.

    Raises
    ------
    OutputError
        If it cannot be written, or something is there.
    """
    notes = [run.notes(shard) for shard in shards]
    with_cells = [shard for shard, each in zip(shards, notes, strict=True) if each["n_cells"]]
    save_tokens((_read_cells(run, shard) for shard in with_cells), output)
    n_cells = sum(each["n_cells"] for each in notes)
    n_full = sum(each["n_cells_filling_the_input"] for each in notes)
    tell_full_inputs(n_full, n_cells, run.manifest.notes["input_length"])
    what = f"tokens of {n_cells:,} cells, for {model}"
    return Written(output, what), {"n_cells": n_cells, "n_cells_filling_the_input": n_full}


def merge_tokens(run: Run, shards: Sequence[Shard], job: MergeJob) -> Summary:
    """Write the tokens of shards that are done; see `merge_run`.

    Raises
    ------
    OutputError
        If the output is named as a file is, or something is there.
    """
    if job.output.suffix in CELL_FORMATS:
        raise OutputError(
            f"The output {job.output} is named as a file, and tokens are a folder.",
            "A name for the folder of the dataset, such as tokens.dataset.",
            "Choose another output.",
        )
    check_free(job.output)
    name = run.manifest.work.model["vocabulary"]
    written, figures = write_dataset(run, shards, job.output, name)
    return Summary((written,), figures)


def _read_cells(run: Run, shard: Shard) -> TokenizedCells:
    table = run.read_shard(shard)
    names = table[_NAME] if _NAME in table.column_names else None
    cells = table.drop_columns([_NAME]) if names is not None else table
    return TokenizedCells(cells, names, run.manifest.notes["vocabulary_sha256"])


@dataclass(frozen=True)
class TokenShards(Recipe):
    """Tokenizes the cells of a shard; it needs nothing to begin with, so it is its own recipe.

    The Parquet file has a row for each cell that is kept, with the columns of the dataset and
    ``cell_name``.
    """

    device = "cpu"

    def start(self, device: str, n_threads: int) -> "TokenShards":  # noqa: ARG002  # of all recipes
        """Itself: the threads are those of the inputs, which encode."""
        return self

    def compute(
        self,
        parts: Iterator[ShardPart],
        n_cells: int | None,  # noqa: ARG002  # of the form of all tasks
        progress: Progress,
    ) -> Generator[ShardResult, None, None]:
        """Pass the tokens on: they are all that there is to compute; see `ShardTask`."""
        for part in parts:
            if part.cells is None:
                yield ShardResult.of(part)
                continue
            cells = part.cells.cells
            yield ShardResult.of(part, cells, cells.table.nbytes)
            progress(len(cells))

    def write(
        self,
        source: TokenSource,
        shard: Shard,  # noqa: ARG002  # of the form of all tasks
        values: Iterator[TokenizedCells],
        out: ShardWriter,
    ) -> None:
        """Write the tokens of a shard; see `ShardTask`."""
        n_cells = n_full = 0
        for cells in values:
            table = cells.table
            if cells.cell_names is not None:
                table = table.append_column(_NAME, cells.cell_names)
            out.add(table)
            n_cells += len(cells)
            n_full += int((cells.lengths >= source.vocabulary.input_length).sum())
        out.note(n_cells=n_cells, n_cells_filling_the_input=n_full)
