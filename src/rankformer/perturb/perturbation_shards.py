"""Perturbed cells as shards of a run, computed in this process or in others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.embed.embedder import Embedder
from rankformer.embed.vector_recipes import ModelRecipe
from rankformer.perturb.chosen_cells import choose_blocks
from rankformer.perturb.genes import AskedGenes
from rankformer.perturb.perturber import Perturber
from rankformer.perturb.screen import Screen
from rankformer.perturb.screen_state import ScreenState
from rankformer.perturb.settings import Perturbation
from rankformer.perturb.shard_tables import AFFECTED, GROUP_BYTES, SCREEN, TRUST
from rankformer.perturb.table import PerturbationTable, as_table
from rankformer.progress import Progress
from rankformer.results.parquet_tables import RowGroups
from rankformer.runs.compute import ShardTask
from rankformer.runs.shards import Shard, ShardWriter
from rankformer.tokens.token_sources import TokenPart, TokenSource


@dataclass(frozen=True, eq=False)
class ShardsPlan:
    """What is done in the shards of a step, as plain values.

    Attributes
    ----------
    asked
        The genes.
    chosen
        Rows of the cells that are perturbed, input by input.
    first_cells
        Where the cells of each input begin, counted over all inputs.
    names
        Columns that tell the cells of all inputs apart; see `PerturbationTable`.
    n_affected
        The most affected genes for each edit; all if None.
    n_before
        Shard of a screen → how many chosen cells come before it.
    state
        What the screen learned in its first shard; None in this.
    """

    asked: AskedGenes
    chosen: Sequence[NDArray[np.int64]]
    first_cells: Sequence[int]
    names: Mapping[str, NDArray[np.object_]]
    n_affected: int | None = None
    n_before: Mapping[Shard, int] | None = None
    state: ScreenState | None = None


@dataclass(frozen=True, eq=False)
class PerturbationShards:
    """Perturbs the chosen cells of a shard.

    The Parquet file has a row for each edit, as the table of results; a shard without edits has
    neither rows nor columns. ``affected`` holds the genes that are affected, with the read-out
    ``"gene"``; ``trust`` what estimates of a screen are compared with; and ``screen`` what it
    learned, of the first shard that had edits, from which the others go on.

    Attributes
    ----------
    perturber
        With states.
    plan
        What is done.
    """

    perturber: Perturber
    plan: ShardsPlan

    @cached_property
    def table(self) -> PerturbationTable:
        """Makes rows."""
        return PerturbationTable(self.perturber, self.plan.names)

    def compute(
        self,
        source: TokenSource,  # noqa: ARG002  # of the form of all tasks
        shard: Shard,
        parts: Iterator[TokenPart],
        out: ShardWriter,
        progress: Progress,
    ) -> None:
        """Perturb the cells of a shard; see `ShardTask`."""
        perturber, plan, screens = self.perturber, self.plan, self.plan.n_before is not None
        if plan.n_before is not None and perturber.screen is not None:
            perturber.screen.begin(plan.state, plan.n_before[shard])
        rows = RowGroups(out.add, GROUP_BYTES)
        affected = RowGroups(partial(out.add, kind=AFFECTED), GROUP_BYTES)
        blocks = choose_blocks(
            parts, plan.chosen[shard.input], perturber.embedder, plan.first_cells[shard.input]
        )
        for part in perturber.perturb_blocks(blocks, plan.asked, progress, screens=screens):
            rows.add(as_table(self.table.columns(part)))
            if perturber.perturbation.read_out == "gene":
                affected.add(as_table(self.table.affected(part, plan.n_affected)))
        rows.finish()
        affected.finish()
        if screens and perturber.screen is not None:
            self._keep_screen(perturber.screen, out)

    def _keep_screen(self, screen: Screen, out: ShardWriter) -> None:
        out.add(as_table(screen.trust.columns()), TRUST)
        learned: Any = screen.state() if self.plan.state is None else None
        if learned is not None:
            out.add(learned.as_table(), SCREEN)


@dataclass(frozen=True, eq=False, kw_only=True)
class PerturbationRecipe(ModelRecipe):
    """Perturbs cells.

    Attributes
    ----------
    perturbation
        What is done.
    plan
        To which cells and genes.
    states
        (n_states, d_model): the embeddings of the states.
    """

    perturbation: Perturbation
    plan: ShardsPlan
    states: NDArray[np.float64]

    def task(self, embedder: Embedder) -> ShardTask:
        perturber = Perturber(embedder, self.perturbation)
        perturber.use_states(self.states)
        return PerturbationShards(perturber, self.plan)
