"""Runs that perturb cells, in shards: begun, gone on with, and shared out."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.cells import describe_model
from rankformer.embed.embedder import Embedder
from rankformer.embed.settled_model import SettledModel
from rankformer.embed.vector_recipes import open_here, open_model
from rankformer.model.device import list_devices
from rankformer.perturb.exact import dtype_of_read_out
from rankformer.perturb.genes import AskedGenes, nothing_perturbed
from rankformer.perturb.perturbation_shards import (
    PerturbationRecipe,
    PerturbationShards,
    ShardsPlan,
)
from rankformer.perturb.row_names import name_rows
from rankformer.perturb.run import PerturbationRun, tell_no_edits, what_is_done
from rankformer.perturb.screen_state import ScreenState
from rankformer.perturb.settings import PerturbJob
from rankformer.perturb.shard_tables import SCREEN, has_rows, rank_genes
from rankformer.perturb.table import JOINED_BY
from rankformer.runs.compute import ShardTask
from rankformer.runs.engines.recipes import Recipe
from rankformer.runs.locks import taking_turns
from rankformer.runs.manifest import Manifest, Work
from rankformer.runs.options import as_plain, plain_reading
from rankformer.runs.plans import note_shards
from rankformer.runs.run import Run, open_run, remove_run
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import Shard, cut_where_chosen
from rankformer.runs.sources import RunInputs
from rankformer.runs.targets import RunTarget
from rankformer.runs.told import own_shards
from rankformer.runs.work import do_shards, engine_ready
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import list_inputs

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)
_CELLS_OF_A_SHARD = 64
_ALL, _AGAIN = 0, 1


@dataclass(frozen=True, eq=False)
class RunningModel:
    """The model of a run: here, where states and the first cells of a screen run, and elsewhere.

    Attributes
    ----------
    here
        The model in this process.
    elsewhere
        How it runs in others, where these compute.
    devices
        Those on which worker processes of this machine compute.
    batch_size
        As of `Embedder`.
    """

    here: Embedder
    elsewhere: SettledModel | None = None
    devices: Sequence[str] = ()
    batch_size: int | None = None

    @classmethod
    def open(
        cls,
        checkpoint: Checkpoint,
        embedding: Mapping[str, Any],
        before: Manifest | None,
        settings: RunSettings,
    ) -> "RunningModel":
        """Load the model; see `open_model`."""
        model = open_model(checkpoint, embedding, before, settings)
        if isinstance(model, Embedder):
            return cls(model)
        devices = list_devices(embedding.get("device", "auto"))
        return cls(open_here(model), model, devices, embedding.get("batch_size"))


@dataclass(frozen=True, eq=False)
class ShardedPerturbation:
    """A run that perturbs cells, under way.

    The first step runs, or estimates, all edits; the second runs the best genes of a screen.
    """

    run: Run
    inputs: RunInputs
    perturbing: PerturbationRun
    names: Mapping[str, NDArray[np.object_]]
    job: PerturbJob
    running: RunningModel

    def compute(self) -> list[Shard]:
        """Do what is left of the run, or of this process's share; give the shards it is of.

        Raises
        ------
        SettingsError
            If no cell could be edited so. Nothing is kept of the run.
        """
        run, shards = self.run, own_shards(self.run, self.job.run)
        if self.perturbing.state_names:
            vectors = run.prepared("states", self._embed_states)["vector"].to_pylist()
            self.perturbing.use_states(np.array(vectors, np.float64))
        every = [shard for shard in run.shards() if shard.step == _ALL]
        self._perturb_all(every, [shard for shard in shards if shard.step == _ALL])
        if self.inputs.failures or not all(map(run.is_done, every)):
            self._tell_of_second_step()
        elif has_rows(run, every):
            self._perturb_again(every, [shard for shard in shards if shard.step == _AGAIN])
        elif self.job.run.shard is None:
            remove_run(run)
            raise nothing_perturbed(self.perturbing.n_cells)
        return shards

    def _perturb_all(self, every: Sequence[Shard], own: Sequence[Shard]) -> None:
        """The first step, of whose shards this process does its own."""
        plan = self._plan(self.perturbing.asked, self.perturbing.chosen, self._count_before(every))
        if self.perturbing.screen is None:
            self._do(own, plan)
            return
        state, done = self._begin_screen(every, plan)
        self._do([shard for shard in own if shard not in done], replace(plan, state=state))

    def _perturb_again(self, every: Sequence[Shard], own: Sequence[Shard]) -> None:
        """The second step, where all shards of the first are done."""
        if not own:
            return
        assert self.perturbing.chosen_again is not None  # noqa: S101  # there are shards of it
        self._do(own, self._plan(self._best_genes(every), self.perturbing.chosen_again))
        done = [shard for shard in own if self.run.is_done(shard)]
        if len(done) == len(own) and not has_rows(self.run, done):
            tell_no_edits(sum(map(len, own)), is_again=True)

    def _do(self, shards: Sequence[Shard], plan: ShardsPlan) -> None:
        what = what_is_done(
            is_screen=plan.n_before is not None, is_again=plan.asked is not self.perturbing.asked
        )
        task: ShardTask | Recipe = PerturbationShards(self.perturbing, plan)
        if self.running.elsewhere is not None:
            task = PerturbationRecipe(
                model=self.running.elsewhere, batch_size=self.running.batch_size,
                perturbation=self.perturbing.perturbation, plan=plan,
                states=self.perturbing.exact.states,
            )  # fmt: skip
        settings, devices = self.job.run, self.running.devices
        do_shards(self.run, shards, self.inputs, task, settings, what, devices)

    def _plan(
        self,
        asked: AskedGenes,
        chosen: Sequence[NDArray[np.int64]],
        n_before: dict[Shard, int] | None = None,
    ) -> ShardsPlan:
        firsts = [self.run.first_cell(index) for index in range(len(chosen))]
        n_affected = self.job.n_affected or None
        return ShardsPlan(asked, chosen, firsts, self.names, n_affected, n_before)

    def _count_before(self, shards: Sequence[Shard]) -> dict[Shard, int] | None:
        """Of a screen: shard → how many chosen cells come before it."""
        if self.perturbing.screen is None:
            return None
        ends = np.cumsum([0, *map(len, shards)]).tolist()
        return dict(zip(shards, ends[:-1], strict=True))

    def _embed_states(self) -> "pa.Table":
        import pyarrow as pa

        vectors = self.perturbing.embed_states().tolist()
        return pa.table({"vector": pa.array(vectors, pa.list_(pa.float64()))})

    def _begin_screen(
        self, shards: Sequence[Shard], plan: ShardsPlan
    ) -> tuple[ScreenState | None, list[Shard]]:
        """Do the first shard that has edits, from which all others begin.

        Each share needs it: one process does it, this one whatever the engine, while others wait.

        Returns
        -------
        What the screen learned there, or None if no shard has edits; and the shards that were done.
        """
        run, settings = self.run, RunSettings(fail_fast=True)
        task = PerturbationShards(self.perturbing, plan)
        done: list[Shard] = []
        with taking_turns(run.folder, "screen", "screens the first cells"):
            for shard in shards:
                if not run.is_done(shard):
                    do_shards(
                        run, [shard], self.inputs, task, settings, "Screening the first cells"
                    )
                    done.append(shard)
                if run.file(shard, SCREEN).exists():
                    return ScreenState.from_table(run.read_shard(shard, SCREEN)), done
        return None, done

    def _best_genes(self, shards: Sequence[Shard]) -> AskedGenes:
        """The best genes of the screen, chosen once and kept with the run."""
        import pyarrow as pa

        names, top = self.perturbing.state_names, self.perturbing.perturbation.top or 0
        effect = f"shift_to_{names[0]}" if names else None

        def choose() -> pa.Table:
            best = rank_genes(self.run, shards, top, effect)
            return pa.table({"ensembl_id": pa.array(best, pa.string())})

        token_of = self.perturbing.embedder.checkpoint.vocabulary.token_of
        anchor = self.perturbing.asked.anchor
        groups = []
        for name in self.run.prepared("best_genes", choose)["ensembl_id"].to_pylist():
            tokens = tuple(token_of[each] for each in name.split(JOINED_BY))
            # It is named last.
            groups.append(tokens if anchor is None else tokens[:-1])
        return AskedGenes(tuple(groups), anchor)

    def _tell_of_second_step(self) -> None:
        if self.perturbing.chosen_again is not None:
            logger.warning(
                "The best genes of the screen are run exactly when all of its shards are done: "
                "give the command again after that."
            )


@contextmanager
def perturbation_run(
    target: RunTarget,
    job: PerturbJob,
    model: str | os.PathLike[str],
    options: ReadingOptions | None,
    settings: dict[str, Any],
) -> Iterator[ShardedPerturbation]:
    """Begin a run that perturbs cells, or go on with one; see `open_run`.

    An input that cannot be opened ends it, as cells are drawn from all of them.

    Parameters
    ----------
    target
        Where its shards lie.
    job
        What is done.
    model
        A published name or a folder.
    options
        Where counts and genes lie.
    settings
        Settings of the `Embedder`.
    """
    checkpoint = Checkpoint.open(model)
    dtype = dtype_of_read_out(job.perturbation.read_out, settings.get("dtype", "auto"))
    settings = {**settings, "dtype": dtype}
    inputs = RunInputs(
        list_inputs(job.sources), checkpoint.vocabulary, options, keep_open=True, fail_fast=True
    )
    made: list[tuple[PerturbationRun, Mapping[str, NDArray[np.object_]], RunningModel]] = []

    def describe(before: Manifest | None) -> Any:
        found = inputs.survey(before)
        running = RunningModel.open(checkpoint, settings, before, job.run)
        names = name_rows(inputs.streams, job.attributes)
        perturbing = PerturbationRun(inputs.streams, running.here, job.perturbation)
        made.append((perturbing, names, running))
        work = _describe_work(job, running.here, options)
        return work, found, as_plain(_notes(perturbing, work.shard_cells))

    with (
        engine_ready(job.run), closing(inputs), open_run(target.folder, job.run, describe) as run
    ):  # fmt: skip
        perturbing, names, running = made[0]
        yield ShardedPerturbation(run, inputs, perturbing, names, job, running)


def _describe_work(job: PerturbJob, embedder: Embedder, options: ReadingOptions | None) -> Work:
    decides = {
        **asdict(job.perturbation), "layer": embedder.layer, "dtype": embedder.precision,
        "reading": plain_reading(options), "n_affected": job.n_affected or None,
        "attributes": dict(job.attributes),
    }  # fmt: skip
    cells_each = job.run.shard_cells or _CELLS_OF_A_SHARD
    model = embedder.checkpoint.provenance()
    return Work("perturb", as_plain(model), as_plain(decides), cells_each)


def _notes(perturbing: PerturbationRun, shard_cells: int) -> dict[str, Any]:
    steps = [perturbing.chosen]
    if perturbing.chosen_again is not None:
        steps.append(perturbing.chosen_again)
    shards = [
        shard
        for step, chosen in enumerate(steps)
        for index, rows in enumerate(chosen)
        for shard in cut_where_chosen(index, rows, shard_cells, step=step)
    ]
    settings = perturbing.describe_settings()
    return {
        **note_shards(shards),
        "provenance": {**describe_model(perturbing.embedder, perturbing.exact.mode), **settings},
        "n_states": len(perturbing.state_names),
        "is_screen": perturbing.screen is not None,
        "has_affected": perturbing.perturbation.read_out == "gene",
    }
