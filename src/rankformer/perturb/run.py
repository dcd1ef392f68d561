"""In silico perturbation of the cells of sources: which cells, which genes, what is read, and how.

Exactly, or by a screen of all genes, of which the best are then run exactly.
"""

import logging
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.embed.cells import check_fits, describe_run
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.perturb.chosen_cells import draw_cells, read_blocks
from rankformer.perturb.exact import ExactPerturber, Responses
from rankformer.perturb.genes import AskedGenes, tell_kinds
from rankformer.perturb.published import PublishedPerturber
from rankformer.perturb.screen import Screen
from rankformer.perturb.settings import Method, Perturbation
from rankformer.perturb.states import embed_states, read_states
from rankformer.progress import show_progress
from rankformer.ragged import Ragged
from rankformer.tokens.edits import Edits, plan_edits
from rankformer.tokens.token_sources import TokenSource

logger = logging.getLogger(__name__)
# A mean over fewer cells says little of a gene.
_LEAST_CELLS = 3


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
    exact
        Runs edits.
    screen
        Estimates what they do; None unless it was asked for.

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
        self.exact = make(embedder, perturbation.read_out)
        states, eligible = perturbation.states, [stream.kept.copy() for stream in streams]
        if states is not None:
            names = read_states(streams, states)
            eligible = [each == states.start for each in names]
            n_cells = sum(int(np.isin(each.astype(str), states.names).sum()) for each in names)
            with show_progress(n_cells, "Embedding the states") as progress:
                vectors = embed_states(streams, names, states, embedder, self.exact.mode, progress)
            self.exact = make(embedder, perturbation.read_out, vectors)
        self.screen = None
        if perturbation.method == "screen":
            self.screen = Screen(self.exact, perturbation.kind, perturbation.screen)
        self.chosen = draw_cells(eligible, perturbation.n_cells, perturbation.seed)

    @property
    def n_cells(self) -> int:
        """How many cells are perturbed."""
        return sum(map(len, self.chosen))

    @property
    def state_names(self) -> tuple[str, ...]:
        states = self.perturbation.states
        return () if states is None else states.names

    def blocks(
        self, chosen_cells: Sequence[NDArray[np.int64]] | None = None
    ) -> Generator[tuple[NDArray[np.int64], Ragged], None, None]:
        """The chosen cells, some at a time; see `read_blocks`."""
        return read_blocks(self.streams, chosen_cells or self.chosen, self.embedder)

    def plan(self, ragged: Ragged, asked: AskedGenes | None = None) -> Edits:
        """What is done to some cells."""
        asked, perturbation = asked or self.asked, self.perturbation
        return plan_edits(
            ragged, self.exact.frame, perturbation.kind,
            groups=asked.groups, anchor=asked.anchor, share=perturbation.share,
        )  # fmt: skip

    def perturb(self) -> Generator[PerturbedCells, None, None]:
        """Run all edits, cell after cell; after a screen, the best ones exactly.

        Raises
        ------
        SettingsError
            At the end, if no cell could be edited so.
        """
        if self.screen is None:
            yield from self._run(self.exact, self.asked, self.chosen, "Perturbing cells")
            return
        means = _MeanEffects()
        for part in self._run(self.screen, self.asked, self.chosen, "Screening cells"):
            means.add(part)
            yield part
        self._tell_trust()
        if self.perturbation.top is not None:
            best = means.best(self.perturbation.top, self.asked)
            lengths = map(len, self.streams)
            eligible = [_mask(*each) for each in zip(self.chosen, lengths, strict=True)]
            cells = draw_cells(eligible, self.perturbation.exact_cells, self.perturbation.seed)
            yield from self._run(self.exact, best, cells, "Perturbing the best genes exactly")

    def _run(
        self,
        perturber: ExactPerturber | Screen,
        asked: AskedGenes,
        chosen: Sequence[NDArray[np.int64]],
        what: str,
    ) -> Generator[PerturbedCells, None, None]:
        method: Method = "screen" if perturber is self.screen else "exact"
        n_cells, n_edits = sum(map(len, chosen)), 0
        with closing(self.blocks(chosen)) as blocks, show_progress(n_cells, what) as progress:
            for rows, ragged in blocks:
                edits = self.plan(ragged, asked)
                n_edits += len(edits)
                n_done = 0
                for start, stop, responses in perturber.run(ragged, edits):
                    yield PerturbedCells(rows, ragged, edits, start, stop, responses, asked, method)
                    n_now = int(edits.cells[stop - 1])
                    progress(n_now - n_done)
                    n_done = n_now
                progress(len(rows) - n_done)
        if n_edits:
            return
        if asked is not self.asked:
            # What was screened is not lost for it.
            logger.warning("None of the %s cells expresses one of the best genes.", f"{n_cells:,}")
        else:
            raise SettingsError(
                f"None of the {n_cells:,} cells expresses a gene that could be perturbed so.",
                "Cells that express the genes named; of a group, and of an anchor, all of them.",
                "Name other genes or cells; overexpress also puts in what a cell lacks.",
            )

    def _tell_trust(self) -> None:
        assert self.screen is not None  # noqa: S101  # it has run
        if not self.screen.trust.n_edits:
            logger.info("There were so few perturbations that all were run exactly.")
            return
        figures = self.screen.trust.figures()
        logger.info(
            "How far the estimates can be trusted: within cells, their rank correlation with %s "
            "exact runs that were not used for them is %s.",
            f"{self.screen.trust.n_edits:,}",
            ", ".join(f"{value:.3f} ({name})" for name, value in figures.items()),
        )

    def describe(self) -> dict[str, Any]:
        """Provenance: model, settings and sources, as plain values."""
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
        run = describe_run(self.embedder, self.exact.mode, self.streams)
        return {**run, "n_cells": self.n_cells, "perturbation": settings}


class _MeanEffects:
    """The mean effect of each perturbation over cells, as they come."""

    def __init__(self) -> None:
        self.sums: dict[tuple[int, ...], float] = {}
        self.counts: Counter[tuple[int, ...]] = Counter()

    def add(self, part: PerturbedCells) -> None:
        shifts = part.responses.shifts
        effects = shifts[:, 0] if shifts.shape[1] else 1 - part.responses.cosines
        for key, effect in zip(part.name_edits(), effects.tolist(), strict=True):
            self.sums[key] = self.sums.get(key, 0.0) + effect
            self.counts[key] += 1

    def best(self, n_best: int, asked: AskedGenes) -> AskedGenes:
        """Those of largest mean, over at least some cells."""
        least = min(_LEAST_CELLS, max(self.counts.values()))
        keys = [key for key, n in self.counts.items() if n >= least]
        keys.sort(key=lambda key: -self.sums[key] / self.counts[key])
        return AskedGenes(tuple(keys[:n_best]), asked.anchor)


def _mask(rows: NDArray[np.int64], n_rows: int) -> NDArray[np.bool_]:
    mask = np.zeros(n_rows, bool)
    mask[rows] = True
    return mask
