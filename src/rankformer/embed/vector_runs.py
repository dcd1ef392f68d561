"""Runs that embed cells or their genes: of `embed`, `annotate` and `predict`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.cells import describe_model, tell_missing
from rankformer.embed.embedder import Embedder
from rankformer.embed.settings import Mode
from rankformer.embed.vector_recipes import (
    AnyEmbedding,
    VectorRecipe,
    open_model,
    opens_beside,
    task_of,
    warm_up,
)
from rankformer.embed.vector_shards import ShardedVectors, count_full, read_reasons
from rankformer.errors import OutputError
from rankformer.model.device import list_devices
from rankformer.runs.compute import ShardTask
from rankformer.runs.engines.recipes import Recipe
from rankformer.runs.manifest import Manifest, Work
from rankformer.runs.obs import read_cells
from rankformer.runs.options import as_plain, plain_reading
from rankformer.runs.run import Run, open_run
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import Shard
from rankformer.runs.sources import RunInputs
from rankformer.runs.told import own_shards
from rankformer.runs.work import do_shards, engine_ready
from rankformer.stages import Stages
from rankformer.tokens.joined_sources import join_obs, name_sources
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import NamedCells, TokenSource
from rankformer.tokens.tokenize import list_inputs, tell_full_inputs

# Of genes, that a shard takes no more than a few GB.
_CELLS_OF_A_SHARD, _WITH_GENES = 8192, 512


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorWork:
    """What is to be embedded, by what, and for which task.

    Attributes
    ----------
    task
        The command.
    sources
        Files and folders of cells.
    checkpoint
        The model.
    mode
        What a cell's vector is; or ``"gene"``: each of its genes has one.
    options
        Where counts and genes lie.
    embedding
        Settings of the `Embedder`.
    decides
        What else of the task decides its result; plain values.
    notes
        What the merging needs to know; plain values.
    """

    task: str
    sources: Sequence[Path]
    checkpoint: Checkpoint
    mode: Mode
    options: ReadingOptions | None = None
    embedding: Mapping[str, Any] = field(default_factory=dict)
    decides: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def devices(self) -> list[str]:
        """Those on which worker processes of this machine compute; none for this process."""
        return list_devices(self.embedding.get("device", "auto"))

    def open_model(self, before: Manifest | None, settings: RunSettings) -> AnyEmbedding:
        """See `rankformer.embed.vector_recipes.open_model`; on a GPU it is warm."""
        model = open_model(self.checkpoint, self.embedding, before, settings)
        if self.mode != "gene":
            model.check_mode(self.mode)
        if isinstance(model, Embedder):
            warm_up(model)
        return model

    @contextmanager
    def opening_model(
        self, before: Manifest | None, settings: RunSettings
    ) -> Iterator[Callable[[], AnyEmbedding]]:
        """Open the model beside the block where that is possible; yields what waits for it.

        An error of the model comes out of that call, so an error of the block is raised first.
        """
        open_now = partial(self.open_model, before, settings)
        if not opens_beside(self.embedding, settings):
            yield open_now
            return
        with ThreadPoolExecutor(1, "rankformer-open") as worker:
            yield worker.submit(open_now).result

    def share_out(self, model: AnyEmbedding) -> ShardTask | Recipe:
        """What computes the shards: the embedder, or what makes one in each worker."""
        if isinstance(model, Embedder):
            return task_of(model, self.mode)
        return VectorRecipe(
            model=model, mode=self.mode, batch_size=self.embedding.get("batch_size")
        )

    def describe(self, embedder: AnyEmbedding, shard_cells: int | None) -> Work:
        """As the manifest has it."""
        options = {
            "mode": self.mode, "layer": embedder.layer, "dtype": embedder.precision,
            "reading": plain_reading(self.options), **self.decides,
        }  # fmt: skip
        model = self.checkpoint.provenance()
        by_default = _WITH_GENES if self.mode == "gene" else _CELLS_OF_A_SHARD
        cells_each = shard_cells or by_default
        return Work(self.task, as_plain(model), as_plain(options), cells_each)


@dataclass(eq=False)
class VectorRun:
    """A run that embeds cells, under way.

    Attributes
    ----------
    stages
        How long the stages worked and waited, once all is computed by this process.
    """

    run: Run
    inputs: RunInputs
    embedder: AnyEmbedding
    work: VectorWork
    settings: RunSettings
    stages: Stages | None = None

    def compute(self) -> list[Shard]:
        """Do what is left of the run, or of this process's share; give the shards it is of."""
        shards = own_shards(self.run, self.settings)
        task = self.work.share_out(self.embedder)
        what = "Embedding genes" if self.work.mode == "gene" else "Embedding cells"
        self.stages = do_shards(
            self.run, shards, self.inputs, task, self.settings, what, self.work.devices
        )
        return shards

    @property
    def vectors(self) -> "RunVectors":
        """What was computed, where nothing failed."""
        return RunVectors(self.run, self.inputs.streams, self.run.shards())


@contextmanager
def vector_run(
    folder: Path,
    work: VectorWork,
    settings: RunSettings,
    *,
    keep_open: bool,
    prepare: Callable[[AnyEmbedding, RunInputs, bool], None] | None = None,
    look: Callable[[TokenSource], None] | None = None,
) -> Iterator[VectorRun]:
    """Begin a run that embeds cells, or go on with one; see `open_run`.

    Parameters
    ----------
    folder
        Of its shards.
    work
        What is embedded.
    settings
        How it is cut and shared out.
    keep_open
        Keep all inputs open, with the obs of all their cells.
    prepare
        Called with the embedder, or how it will run in other processes, the inputs, and whether
        the run is begun anew, before anything is computed; by one process at a time.
    look
        Called with each input when it is opened for the first time.
    """
    inputs = RunInputs(
        list_inputs(work.sources), work.checkpoint.vocabulary, work.options,
        keep_open=keep_open, fail_fast=settings.fail_fast,
    )  # fmt: skip
    inputs.look = look
    made: list[AnyEmbedding] = []

    def describe(before: Manifest | None) -> Any:
        with work.opening_model(before, settings) as opened:
            found = inputs.survey(before)
            embedder = opened()
        made.append(embedder)
        if prepare is not None:
            prepare(embedder, inputs, before is None)
        notes = {
            "provenance": as_plain(describe_model(embedder, work.mode)),
            "d_model": embedder.d_model,
            "input_length": work.checkpoint.vocabulary.input_length, **work.notes,
        }  # fmt: skip
        return work.describe(embedder, settings.shard_cells), found, as_plain(notes)

    with engine_ready(settings), closing(inputs), open_run(folder, settings, describe) as run:
        yield VectorRun(run, inputs, made[0], work, settings)


@dataclass(frozen=True, eq=False)
class RunVectors:
    """The vectors of a run, with what a result says of the cells.

    Attributes
    ----------
    run
        Of which the shards are done.
    cells
        Its inputs, in order.
    shards
        Those that are read.
    """

    run: Run
    cells: Sequence[NamedCells]
    shards: Sequence[Shard]

    @property
    def values(self) -> NDArray[np.float32]:
        """(n_cells, d_model) float32, read as they are asked for: see `ShardedVectors`."""
        values = ShardedVectors(self.run, self.shards, self.run.manifest.notes["d_model"])
        # It has what those need who go over an array in blocks of rows.
        return cast("NDArray[np.float32]", values)

    def missing(self) -> NDArray[np.object_]:
        """Why cells have no vector, which is told, or None."""
        missing = read_reasons(self.run, self.shards)
        n_full = count_full(self.run, self.shards)
        tell_full_inputs(n_full, len(missing), self.run.manifest.notes["input_length"])
        tell_missing(missing)
        return missing

    def sources(self) -> NDArray[np.object_] | None:
        """Which input each cell is of, or None where the run has one."""
        return name_sources(self.cells, are_several=len(self.run.manifest.inputs) > 1)

    def obs(self, sources: NDArray[np.object_] | None) -> pd.DataFrame:
        """Obs of all cells."""
        return join_obs(self.cells, sources)

    def provenance(self) -> dict[str, Any]:
        """Model, precision, versions and inputs."""
        inputs = self.run.manifest.inputs
        sources = {str(i): dict(each.source) for i, each in enumerate(inputs)}
        return {**self.run.manifest.notes["provenance"], "sources": sources}


def merged_vectors(run: Run, shards: Sequence[Shard]) -> RunVectors:
    """The vectors of some shards, to be merged: each cell once.

    Raises
    ------
    OutputError
        If a shard has not as many rows as cells.
    """
    for shard in shards:
        n_rows = run.n_rows(shard)
        if n_rows != len(shard):
            raise OutputError(
                f"The shard {run.file(shard)} has {n_rows:,} rows for {len(shard):,} cells.",
                "A row for each cell.",
                "Remove it, and give the command of the run again, which computes it anew.",
            )
    return RunVectors(run, read_cells(run, shards), shards)
