"""What computes perturbations of cells that come: the model, what is done, and what is read."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankformer.embed.embedder import Embedder
from rankformer.perturb.chosen_cells import Block
from rankformer.perturb.exact import ExactPerturber, Responses
from rankformer.perturb.genes import AskedGenes
from rankformer.perturb.published import PublishedPerturber
from rankformer.perturb.screen import Screen
from rankformer.perturb.settings import Method, Perturbation
from rankformer.progress import Progress
from rankformer.ragged import Ragged
from rankformer.tokens.edits import Edits, plan_edits


@dataclass(frozen=True, eq=False)
class PerturbedCells:
    """Some edits of some cells, and what they did.

    Attributes
    ----------
    rows
        (n_cells,) int64: which cells of the sources, counted over all of them, the block has.
    ragged
        Tokens of these cells.
    edits
        All edits of the block.
    start, stop
        Which of the edits `responses` are of.
    responses
        What they did.
    asked
        The genes that were asked for.
    method
        Whether it was run or estimated.
    """

    rows: NDArray[np.int64]
    ragged: Ragged
    edits: Edits
    start: int
    stop: int
    responses: Responses
    asked: AskedGenes
    method: Method

    def name_edits(self) -> list[tuple[int, ...]]:
        """The genes of each edit, as asked for and without the anchor: the same in all cells."""
        edits, asked, own = self.edits, self.asked, slice(self.start, self.stop)
        if asked.groups is not None:
            return [asked.groups[group] for group in edits.groups[own].tolist()]
        # Of all genes one at a time, there are two at most: the gene and the anchor.
        first, last = edits.offsets[:-1][own], edits.offsets[1:][own] - 1
        tokens = edits.tokens[first]
        if asked.anchor is not None:
            tokens = np.where(tokens == asked.anchor, edits.tokens[last], tokens)
        return [(token,) for token in tokens.tolist()]


class Perturber:
    """Perturbs cells that come as blocks; of the sources that they are of it knows nothing.

    Parameters
    ----------
    embedder
        The model.
    perturbation
        What is done.

    Attributes
    ----------
    exact
        Runs edits.
    screen
        Estimates what they do; None unless it was asked for.

    Raises
    ------
    SettingsError
        If model and settings do not go together.
    """

    def __init__(self, embedder: Embedder, perturbation: Perturbation) -> None:
        self.embedder, self.perturbation = embedder, perturbation
        make = PublishedPerturber if perturbation.as_published else ExactPerturber
        self.exact = make(embedder, perturbation.read_out)
        self.screen: Screen | None = None
        if perturbation.method == "screen":
            self.screen = Screen(self.exact, perturbation.kind, perturbation.screen)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Those of the states towards which shifts are measured; the first is the goal."""
        states = self.perturbation.states
        return () if states is None else states.names

    def use_states(self, vectors: NDArray[np.float64]) -> None:
        """Measure shifts towards states of these embeddings, (n_states, d_model)."""
        self.exact.states = vectors
        if self.screen is not None:
            self.screen.begin()

    def plan(self, ragged: Ragged, asked: AskedGenes) -> Edits:
        """What is done to some cells."""
        perturbation = self.perturbation
        return plan_edits(
            ragged, self.exact.frame, perturbation.kind,
            groups=asked.groups, anchor=asked.anchor, share=perturbation.share,
        )  # fmt: skip

    def perturb_blocks(
        self,
        blocks: Iterable[Block],
        asked: AskedGenes,
        progress: Progress,
        *,
        screens: bool,
    ) -> Generator[PerturbedCells, None, None]:
        """Run, or estimate, the edits of some cells.

        Parameters
        ----------
        blocks
            Cells; see `read_blocks`.
        asked
            The genes.
        progress
            Told of the cells that are done.
        screens
            Whether edits are estimated.
        """
        method: Method = "screen" if screens else "exact"
        perturber = self.screen if screens else self.exact
        assert perturber is not None  # noqa: S101  # it was asked for
        for rows, ragged in blocks:
            edits = self.plan(ragged, asked)
            n_done = 0
            for start, stop, responses in perturber.run(ragged, edits):
                yield PerturbedCells(rows, ragged, edits, start, stop, responses, asked, method)
                n_now = int(edits.cells[stop - 1])
                progress(n_now - n_done)
                n_done = n_now
            progress(len(rows) - n_done)


def effects_of(responses: Responses) -> NDArray[np.float64]:
    """(n_edits,): the shift towards the first state, or without states the movement."""
    shifts = responses.shifts
    return shifts[:, 0] if shifts.shape[1] else 1 - responses.cosines
