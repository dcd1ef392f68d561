"""Perturbed cells as shards of a run, computed in this process or in others."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
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
from rankformer.runs.compute import ShardPart, ShardResult, ShardTask
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
        parts: Iterator[ShardPart],
        n_cells: int | None,  # noqa: ARG002  # of the form of all tasks
        progress: Progress,
    ) -> Generator[ShardResult, None, None]:
        """Perturb the cells of shards; see `ShardTask`."""
        for shard, own in groupby(parts, key=lambda each: each.shard):
            yield from self._compute_shard(shard, own, progress)

    def _compute_shard(
        self, shard: Shard, parts: Iterator[ShardPart], progress: Progress
    ) -> Iterator[ShardResult]:
        perturber, plan, screens = self.perturber, self.plan, self.plan.n_before is not None
        if plan.n_before is not None and perturber.screen is not None:
            perturber.screen.begin(plan.state, plan.n_before[shard])
        cells = _CellsOfShard(parts)
        blocks = choose_blocks(
            cells, plan.chosen[shard.input], perturber.embedder, plan.first_cells[shard.input]
        )
        for part in perturber.perturb_blocks(blocks, plan.asked, progress, screens=screens):
            yield cells.result(as_table(self.table.columns(part)))
            if perturber.perturbation.read_out == "gene":
                yield cells.result(as_table(self.table.affected(part, plan.n_affected)), AFFECTED)
        if screens and perturber.screen is not None:
            yield from self._keep_screen(perturber.screen, cells)
        yield ShardResult.of(cells.last)

    def _keep_screen(self, screen: Screen, cells: "_CellsOfShard") -> Iterator[ShardResult]:
        yield cells.result(as_table(screen.trust.columns()), TRUST)
        learned: Any = screen.state() if self.plan.state is None else None
        if learned is not None:
            yield cells.result(learned.as_table(), SCREEN)

    def write(
        self,
        source: TokenSource,  # noqa: ARG002  # of the form of all tasks
        shard: Shard,  # noqa: ARG002
        values: Iterator[tuple[str, pa.Table]],
        out: ShardWriter,
    ) -> None:
        """Write the tables of a shard; see `ShardTask`."""
        groups = {
            kind: RowGroups(partial(out.add, kind=kind), GROUP_BYTES) for kind in ("", AFFECTED)
        }
        for kind, table in values:
            if kind in groups:
                groups[kind].add(table)
            else:
                out.add(table, kind)
        for each in groups.values():
            each.finish()


class _CellsOfShard:
    """The cells of a shard as they come, up to its end."""

    def __init__(self, parts: Iterator[ShardPart]) -> None:
        self._parts = parts
        self.last: ShardPart

    def __iter__(self) -> Iterator[TokenPart]:
        for part in self._parts:
            self.last = part
            if part.cells is None:
                return
            yield part.cells

    def result(self, table: pa.Table, kind: str = "") -> ShardResult:
        """A table of the cells that came."""
        return ShardResult.of(self.last, (kind, table), table.nbytes)


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
