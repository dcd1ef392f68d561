"""In silico perturbation of the cells of sources: which cells, which genes, what is read, and how.

Exactly, or by a screen of all genes, of which the best are then run exactly.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.embed.cells import check_fits, describe_run
from rankformer.embed.embedder import Embedder
from rankformer.perturb.best_genes import MeanEffects
from rankformer.perturb.chosen_cells import Block, draw_again, draw_cells, read_blocks
from rankformer.perturb.genes import AskedGenes, nothing_perturbed, tell_kinds
from rankformer.perturb.perturber import PerturbedCells, Perturber, effects_of
from rankformer.perturb.settings import Perturbation
from rankformer.perturb.states import embed_states, read_states
from rankformer.progress import show_progress
from rankformer.tokens.token_sources import TokenSource

logger = logging.getLogger(__name__)


class PerturbationRun(Perturber):
    """A perturbation made ready: genes found and cells chosen; `use_states` is called next.

    Parameters
    ----------
    streams
        The sources.
    embedder
        The model.
    perturbation
        What is done.

    Attributes
    ----------
    asked
        The genes.
    chosen, chosen_again
        Rows of the cells that are perturbed, source by source; and of those in which the best genes
        of a screen are run exactly.

    Raises
    ------
    RankformerError
        If sources, model and settings do not go together.
    """

    def __init__(
        self, streams: Sequence[TokenSource], embedder: Embedder, perturbation: Perturbation
    ) -> None:
        self.streams = streams
        for stream in streams:
            check_fits(stream, embedder)
        self.asked = AskedGenes.find(
            embedder.checkpoint.vocabulary,
            perturbation.genes, perturbation.groups, perturbation.anchor,
        )  # fmt: skip
        tell_kinds(self.asked, perturbation.kind)
        super().__init__(embedder, perturbation)
        states, eligible = perturbation.states, [stream.kept.copy() for stream in streams]
        self._state_of_cells: list[NDArray[np.object_]] | None = None
        if states is not None:
            self._state_of_cells = read_states(streams, states)
            eligible = [each == states.start for each in self._state_of_cells]
        self.chosen = draw_cells(eligible, perturbation.n_cells, perturbation.seed)
        self.chosen_again: list[NDArray[np.int64]] | None = None
        if perturbation.top is not None:
            self.chosen_again = draw_again(
                self.chosen, list(map(len, streams)), perturbation.exact_cells, perturbation.seed
            )

    def embed_states(self) -> NDArray[np.float64]:
        """(n_states, d_model): the embeddings of the states; see `embed_states`."""
        states, names = self.perturbation.states, self._state_of_cells
        if states is None or names is None:
            return np.empty((0, self.embedder.d_model))
        n_cells = sum(int(np.isin(each.astype(str), states.names).sum()) for each in names)
        with show_progress(n_cells, "Embedding the states") as progress:
            mode = self.exact.mode
            return embed_states(self.streams, names, states, self.embedder, mode, progress)

    @property
    def n_cells(self) -> int:
        """How many cells are perturbed."""
        return sum(map(len, self.chosen))

    def blocks(
        self, chosen_cells: Sequence[NDArray[np.int64]] | None = None
    ) -> Generator[Block, None, None]:
        """The chosen cells, some at a time; see `read_blocks`."""
        return read_blocks(self.streams, chosen_cells or self.chosen, self.embedder)

    def perturb(self) -> Generator[PerturbedCells, None, None]:
        """Run all edits, cell after cell; after a screen, the best ones exactly.

        Raises
        ------
        SettingsError
            At the end, if no cell could be edited so.
        """
        means: MeanEffects[tuple[int, ...]] = MeanEffects()
        for part in self._perturb_all(self.asked, self.chosen, screens=self.screen is not None):
            if self.chosen_again is not None:
                means.add(part.name_edits(), effects_of(part.responses).tolist())
            yield part
        if self.screen is not None:
            self.screen.trust.tell()
        if self.chosen_again is not None:
            best = AskedGenes(tuple(means.best(self.perturbation.top or 0)), self.asked.anchor)
            yield from self._perturb_all(best, self.chosen_again, screens=False)

    def _perturb_all(
        self, asked: AskedGenes, chosen: Sequence[NDArray[np.int64]], *, screens: bool
    ) -> Generator[PerturbedCells, None, None]:
        n_cells, n_edits = sum(map(len, chosen)), 0
        what = what_is_done(is_screen=screens, is_again=asked is not self.asked)
        with closing(self.blocks(chosen)) as blocks, show_progress(n_cells, what) as progress:
            for part in self.perturb_blocks(blocks, asked, progress, screens=screens):
                n_edits += part.stop - part.start
                yield part
        if not n_edits:
            tell_no_edits(n_cells, is_again=asked is not self.asked)

    def describe_settings(self) -> dict[str, Any]:
        """The settings, and how many cells there are, as plain values."""
        settings = {
            key: value if isinstance(value, str | int | float) else str(value)
            for key, value in asdict(self.perturbation).items()
            if value is not None and key not in ("groups", "states", "screen")
        }
        states = self.perturbation.states
        if states is not None:
            settings |= {f"state_{key}": str(value) for key, value in asdict(states).items()}
        if self.screen is not None:
            settings |= {f"screen_{k}": v for k, v in asdict(self.screen.settings).items()}
        return {"n_cells": self.n_cells, "perturbation": settings}

    def describe(self) -> dict[str, Any]:
        """Provenance: model, settings and sources, as plain values."""
        run = describe_run(self.embedder, self.exact.mode, self.streams)
        return {**run, **self.describe_settings()}


def what_is_done(*, is_screen: bool, is_again: bool) -> str:
    """For the progress."""
    if is_again:
        return "Perturbing the best genes exactly"
    return "Screening cells" if is_screen else "Perturbing cells"


def tell_no_edits(n_cells: int, *, is_again: bool) -> None:
    """Say that no cell could be edited so.

    Raises
    ------
    SettingsError
        Unless it is the best genes of a screen, which is not lost for it.
    """
    if not is_again:
        raise nothing_perturbed(n_cells)
    logger.warning("None of the %s cells expresses one of the best genes.", f"{n_cells:,}")
