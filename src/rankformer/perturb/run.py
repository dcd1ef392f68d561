"""In silico perturbation of the cells of sources: which cells, which genes, what is read."""

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.data.edits import SHARE_OF_RANKS, Edits, EditType, plan_edits
from rankformer.errors import SettingsError
from rankformer.model.embedder import Embedder
from rankformer.perturb.exact import ExactPerturber, ReadOut, Responses, blocks_of_cells
from rankformer.perturb.genes import ALL, AskedGenes, tell_kinds
from rankformer.perturb.published import PublishedPerturber
from rankformer.perturb.states import States, embed_states, read_states, select_cells
from rankformer.ragged import Ragged
from rankformer.tasks.embed import check_fits, describe_run
from rankformer.tasks.progress import Progress, show_progress
from rankformer.tasks.read_ahead import read_ahead
from rankformer.tasks.tokenize import TokenSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Perturbation:
    """What is done to which genes of which cells, and what is read.

    Attributes
    ----------
    kind
        ``"delete"``, ``"overexpress"``, ``"inhibit"`` or ``"activate"``; see `plan_edits`.
    genes
        ``"all"``: each gene that a cell expresses, one at a time; or names of genes.
    groups
        Genes that are perturbed together, in the place of `genes`.
    anchor
        A gene that is perturbed along with each of the others.
    share
        Of a cell's ranks, by which ``inhibit`` and ``activate`` move a gene.
    read_out
        What is compared with the unperturbed cell; see `ExactPerturber`.
    states
        Perturb the cells of one state, and measure shifts towards others.
    n_cells
        Perturb at most so many cells, drawn by `seed`.
    seed
        Decides which cells are drawn.
    as_published
        Crop and compare near the input length as the published package does.
    """

    kind: EditType = "delete"
    genes: str | Sequence[str] = ALL
    groups: Sequence[Sequence[str]] = ()
    anchor: str | None = None
    share: float = SHARE_OF_RANKS
    read_out: ReadOut = "cell"
    states: States | None = None
    n_cells: int | None = None
    seed: int = 0
    as_published: bool = False

    def __post_init__(self) -> None:
        if self.n_cells is not None and self.n_cells < 1:
            raise SettingsError(
                f"{self.n_cells} cells were asked for.", "At least one cell.",
                "Correct n_cells (--n-cells), or leave it out for all cells.",
            )  # fmt: skip


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
    """

    rows: NDArray[np.int64]
    ragged: Ragged
    edits: Edits
    start: int
    stop: int
    responses: Responses


class PerturbationRun:
    """A perturbation made ready: genes found, cells chosen, states embedded.

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
    chosen
        Rows of the cells that are perturbed, source by source.
    perturber
        Runs the edits.

    Raises
    ------
    RankformerError
        If sources, model and settings do not go together.
    """

    def __init__(
        self, streams: Sequence[TokenSource], embedder: Embedder, perturbation: Perturbation
    ) -> None:
        self.streams, self.embedder, self.perturbation = streams, embedder, perturbation
        vocabulary = embedder.checkpoint.vocabulary
        for stream in streams:
            check_fits(stream, embedder)
        self.asked = AskedGenes.find(
            vocabulary, perturbation.genes, perturbation.groups, perturbation.anchor
        )
        tell_kinds(self.asked, perturbation.kind)
        make = PublishedPerturber if perturbation.as_published else ExactPerturber
        self.perturber = make(embedder, perturbation.read_out)
        states, eligible = perturbation.states, [stream.kept.copy() for stream in streams]
        if states is not None:
            names = read_states(streams, states)
            eligible = [each == states.start for each in names]
            n_cells = sum(int(np.isin(each.astype(str), states.names).sum()) for each in names)
            with show_progress(n_cells, "Embedding the states") as progress:
                vectors = embed_states(
                    streams, names, states, embedder, self.perturber.pooling, progress
                )
            self.perturber = make(embedder, perturbation.read_out, vectors)
        self.chosen = _draw_cells(eligible, perturbation.n_cells, perturbation.seed)

    @property
    def n_cells(self) -> int:
        """How many cells are perturbed."""
        return sum(map(len, self.chosen))

    @property
    def state_names(self) -> tuple[str, ...]:
        states = self.perturbation.states
        return () if states is None else states.names

    def blocks(self) -> Generator[tuple[NDArray[np.int64], Ragged], None, None]:
        """The chosen cells, some at a time: their rows over all sources, and their tokens."""
        first = 0
        for stream, chosen in zip(self.streams, self.chosen, strict=True):
            is_chosen = np.zeros(len(stream), bool)
            is_chosen[chosen] = True
            with closing(stream.parts()) as own, read_ahead(own) as parts:
                for part in parts:
                    places = np.flatnonzero(is_chosen[part.rows])
                    ragged = select_cells(part.cells.ragged(0, len(part.rows)), places)
                    rows = first + part.rows[places]
                    for start, stop in blocks_of_cells(ragged[1], self.embedder):
                        block = select_cells(ragged, np.arange(start, stop))
                        yield rows[start:stop], block
            first += len(stream)

    def plan(self, ragged: Ragged) -> Edits:
        """What is done to some cells."""
        perturbation = self.perturbation
        return plan_edits(
            ragged, self.perturber.frame, perturbation.kind,
            groups=self.asked.groups, anchor=self.asked.anchor, share=perturbation.share,
        )  # fmt: skip

    def perturb(self, progress: Progress | None = None) -> Generator[PerturbedCells, None, None]:
        """Run all edits, cell after cell; `progress` gets numbers of cells.

        Raises
        ------
        SettingsError
            At the end, if no cell could be edited so.
        """
        n_edits = 0
        with closing(self.blocks()) as blocks:
            for rows, ragged in blocks:
                edits = self.plan(ragged)
                n_edits += len(edits)
                n_done = 0
                for start, stop, responses in self.perturber.run(ragged, edits):
                    yield PerturbedCells(rows, ragged, edits, start, stop, responses)
                    n_now = int(edits.cells[stop - 1])
                    if progress:
                        progress(n_now - n_done)
                    n_done = n_now
                if progress:
                    progress(len(rows) - n_done)
        if not n_edits:
            raise SettingsError(
                f"None of the {self.n_cells:,} cells expresses a gene that could be perturbed so.",
                "Cells that express the genes named; of a group, and of an anchor, all of them.",
                "Name other genes or cells; overexpress also puts in what a cell lacks.",
            )

    def describe(self) -> dict[str, Any]:
        """Provenance: model, settings and sources, as plain values."""
        settings = {
            key: value if isinstance(value, str | int | float) else str(value)
            for key, value in asdict(self.perturbation).items()
            if value is not None and key not in ("groups", "states")
        }
        states = self.perturbation.states
        if states is not None:
            settings |= {f"state_{key}": str(value) for key, value in asdict(states).items()}
        run = describe_run(self.embedder, self.perturber.pooling, self.streams)
        return {**run, "n_cells": self.n_cells, "perturbation": settings}


def _draw_cells(
    eligible: Sequence[NDArray[np.bool_]], n_cells: int | None, seed: int
) -> list[NDArray[np.int64]]:
    rows = np.flatnonzero(np.concatenate(eligible))
    if n_cells is not None and n_cells < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, n_cells, replace=False))
    ends = np.cumsum([0, *map(len, eligible)])
    return [
        rows[(rows >= start) & (rows < stop)] - start for start, stop in pairwise(ends.tolist())
    ]
