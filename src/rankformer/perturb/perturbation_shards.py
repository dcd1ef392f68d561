"""Perturbed cells as shards of a run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from rankformer.perturb.chosen_cells import choose_blocks
from rankformer.perturb.genes import AskedGenes
from rankformer.perturb.run import PerturbationRun
from rankformer.perturb.screen import Screen
from rankformer.perturb.screen_state import ScreenState
from rankformer.perturb.shard_tables import AFFECTED, GROUP_BYTES, SCREEN, TRUST
from rankformer.perturb.table import PerturbationTable, as_table
from rankformer.progress import Progress
from rankformer.results.parquet_tables import RowGroups
from rankformer.runs.shards import Shard, ShardWriter
from rankformer.tokens.token_sources import TokenPart, TokenSource


@dataclass(frozen=True, eq=False)
class PerturbationShards:
    """Perturbs the chosen cells of a shard.

    The Parquet file has a row for each edit, as the table of results; a shard without edits has
    neither rows nor columns. ``affected`` holds the genes that are affected, with the read-out
    ``"gene"``; ``trust`` what estimates of a screen are compared with; and ``screen`` what it
    learned, of the first shard that had edits, from which the others go on.

    Attributes
    ----------
    perturbing
        What is done, with states.
    table
        Makes rows.
    asked
        The genes.
    first_cell
        Input → where its cells begin, counted over all inputs.
    n_affected
        The most affected genes for each edit; all if None.
    n_before
        Shard of a screen → how many chosen cells come before it.
    state
        What the screen learned in its first shard; None in this.
    """

    perturbing: PerturbationRun
    table: PerturbationTable
    asked: AskedGenes
    first_cell: Callable[[int], int]
    n_affected: int | None = None
    n_before: dict[Shard, int] | None = None
    state: ScreenState | None = None

    def compute(
        self,
        source: TokenSource,  # noqa: ARG002  # of the form of all tasks
        shard: Shard,
        parts: Iterator[TokenPart],
        out: ShardWriter,
        progress: Progress,
    ) -> None:
        """Perturb the cells of a shard; see `ShardTask`."""
        perturbing, screens = self.perturbing, self.n_before is not None
        if self.n_before is not None and perturbing.screen is not None:
            perturbing.screen.begin(self.state, self.n_before[shard])
        chosen = perturbing.chosen if shard.step == 0 else perturbing.chosen_again
        assert chosen is not None  # noqa: S101  # a shard of it was asked for
        rows = RowGroups(out.add, GROUP_BYTES)
        affected = RowGroups(partial(out.add, kind=AFFECTED), GROUP_BYTES)
        blocks = choose_blocks(
            parts, chosen[shard.input], perturbing.embedder, self.first_cell(shard.input)
        )
        for part in perturbing.perturb_blocks(blocks, self.asked, progress, screens=screens):
            rows.add(as_table(self.table.columns(part)))
            if perturbing.perturbation.read_out == "gene":
                affected.add(as_table(self.table.affected(part, self.n_affected)))
        rows.finish()
        affected.finish()
        if screens and perturbing.screen is not None:
            self._keep_screen(perturbing.screen, out)

    def _keep_screen(self, screen: Screen, out: ShardWriter) -> None:
        out.add(as_table(screen.trust.columns()), TRUST)
        learned: Any = screen.state() if self.state is None else None
        if learned is not None:
            out.add(learned.as_table(), SCREEN)
