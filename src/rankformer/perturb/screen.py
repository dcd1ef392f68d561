"""A screen of all genes: the effect of each edit estimated from a few passes a cell.

The change of a cell's embedding is estimated along a few directions: those of the states, and those
in which embeddings change most, as exact runs of some genes show (their principal components).
Along each, the estimate of an edit is a sum of first derivatives
(`rankformer.perturb.sensitivity`): the gene's presence, its own part of the mean, and the moves of
the tokens that make room or close the gap. What tokens do together as they move is the largest
error of the first order; along the directions of the states it is taken from a second set of
derivatives, where all tokens have moved.
What is left, smooth along the ranks, is learned from the exact runs of many cells
(`rankformer.perturb.correction`).

``docs/perturbation-screen.md`` derives it.
"""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.model.cpu.workers import share_cores, start_workers
from rankformer.perturb.correction import Correction, KnownErrors
from rankformer.perturb.exact import ExactPerturber, Responses
from rankformer.perturb.screen_state import ScreenState
from rankformer.perturb.sensitivity import Riders, Sensitivity, differentiate
from rankformer.perturb.settings import ScreenSettings
from rankformer.perturb.trust import Trust
from rankformer.ragged import Ragged
from rankformer.tokens.edit_types import EditType
from rankformer.tokens.edits import Edits

logger = logging.getLogger(__name__)
# Cells that are corrected together, and exact runs of cells before them that help.
_CELLS_AT_ONCE, _N_FORMER = 32, 256
# The first cells choose the directions, of so many exact runs.
_LEAST_RUNS = 32
# A state that lies so much nearer to the others than the goal does has no direction of its own.
_NEGLIGIBLE = 0.1
_GOLDEN = (5**0.5 - 1) / 2
_UP, _DOWN = -1, 1
# A gene that the cell lacks has no rank: it stands far from all that have one.
_NO_RANK = 10.0


class Screen:
    """Estimates what edits do, where `ExactPerturber` runs them.

    Parameters
    ----------
    exact
        Runs the edits that correct the estimates; gives model, read-out and states.
    kind
        What is done to genes.
    settings
        See `ScreenSettings`.

    Attributes
    ----------
    trust
        How well estimates rank genes, measured on exact runs that were left out.

    Raises
    ------
    SettingsError
        With the read-out ``"gene"``, which is not estimated.
    """

    def __init__(
        self, exact: ExactPerturber, kind: EditType, settings: ScreenSettings | None = None
    ) -> None:
        if exact.read_out == "gene":
            raise SettingsError(
                "A screen of the read-out gene was asked for.",
                "The read-out cell or cls: vectors of single genes are not estimated.",
                "Choose one of these (--read-out), or the exact method (--method exact).",
            )
        self.exact, self.kind, self.settings = exact, kind, settings or ScreenSettings()
        self.frame, self.embedder = exact.frame, exact.embedder
        self.read_out, self.mode = exact.read_out, exact.mode
        self._encoder = (
            exact.embedder.checkpoint.encoder(torch.float32).to(exact.embedder.device).eval()
        )
        self.begin()

    def begin(self, state: ScreenState | None = None, n_before: int = 0) -> None:
        """Forget the cells so far, and go on as after others.

        Parameters
        ----------
        state
            What was learned of these; None to begin anew.
        n_before
            How many cells come before the next: other ranks are run exactly from cell to cell.
        """
        self.trust = Trust(n_states=len(self.exact.states))
        self._directions = None if state is None else state.directions
        self._n_states = 0 if state is None else state.n_states
        self._former = None if state is None else state.former
        self._n_cells = n_before

    def state(self) -> ScreenState | None:
        """What was learned of the cells so far; None before any was edited."""
        if self._directions is None or self._former is None:
            return None
        return ScreenState(self._directions, self._n_states, self._former)

    def run(self, ragged: Ragged, edits: Edits) -> Iterator[tuple[int, int, Responses]]:
        """Estimate what edits do, those of a cell at a time; see `ExactPerturber.run`.

        The directions are chosen with the first cells that are given.
        """
        firsts = np.searchsorted(edits.cells, np.arange(len(ragged[1])))
        cells = np.flatnonzero(np.diff(firsts))
        for start in range(0, len(cells), _CELLS_AT_ONCE):
            own = cells[start : start + _CELLS_AT_ONCE]
            yield from self._run_cells(ragged, edits, own, firsts)

    def _run_cells(
        self, ragged: Ragged, edits: Edits, cells: NDArray[np.int64], firsts: NDArray[np.int64]
    ) -> Iterator[tuple[int, int, Responses]]:
        """Estimate what edits do to some cells; cell c has those from ``firsts[c]`` on."""
        runs = self._choose_runs(cells, firsts)
        before, after = self.exact.embed_edits(ragged, edits.select(np.concatenate(runs)))
        if self._directions is None:
            self._choose_directions(before, after)
        estimates = self._estimate_cells(ragged, edits, cells, firsts)
        own = [each - firsts[cell] for cell, each in zip(cells, runs, strict=True)]
        raw, places = (
            np.concatenate([values[chosen] for values, chosen in zip(parts, own, strict=True)])
            for parts in zip(*estimates, strict=True)
        )
        true, rest = self._split(after - before)
        known = KnownErrors(
            np.repeat(np.arange(len(cells)), [len(each) for each in own]),
            places,
            np.column_stack([true - raw, rest]),
        )
        exact = _read_out(before, after - before, np.zeros(len(raw)), self.exact.states)
        correction = Correction(known if self._former is None else self._former.join(known))
        self._former = correction.known.forget_cells(_N_FORMER)
        n_edits = int((firsts[cells + 1] - firsts[cells]).sum())
        # Where all edits were run exactly there is nothing to trust.
        if len(correction.known.cells) > 1 and len(raw) < n_edits:
            left_out = correction.leave_out()[-len(raw) :]
            self.trust.add(self._respond(before, raw, left_out), exact, known.cells)
        vectors = before[np.cumsum([len(each) for each in own]) - 1]
        for place, (cell, (changes, where)) in enumerate(zip(cells, estimates, strict=True)):
            responses = self._respond(vectors[place], changes, correction.predict(where, place))
            responses.cosines[own[place]] = exact.cosines[known.cells == place]
            responses.shifts[own[place]] = exact.shifts[known.cells == place]
            yield int(firsts[cell]), int(firsts[cell + 1]), responses

    def _choose_runs(
        self, cells: NDArray[np.int64], firsts: NDArray[np.int64]
    ) -> list[NDArray[np.int64]]:
        """Edits of each cell that are run exactly; from cell to cell at other ranks."""
        n_exact = self.settings.n_exact
        if self._directions is None:
            n_exact = max(n_exact, -(-_LEAST_RUNS // len(cells)))
        shifts = (0.5 + _GOLDEN * (self._n_cells + np.arange(len(cells)))) % 1
        self._n_cells += len(cells)
        return [
            _spread(firsts[cell], firsts[cell + 1], n_exact, shift)
            for cell, shift in zip(cells, shifts, strict=True)
        ]

    def _choose_directions(self, before: NDArray[np.float64], after: NDArray[np.float64]) -> None:
        """(K, D), orthonormal: those of the states first, then the principal ones of the changes.

        All are at right angles to the mean embedding, along which no cosine changes.
        """
        mean = before.mean(axis=0)
        mean /= np.linalg.norm(mean)
        states = self.exact.states
        basis = _orthonormal(states - np.outer(states @ mean, mean))
        changes = (after - before) / np.linalg.norm(before, axis=1, keepdims=True)
        changes -= np.outer(changes @ mean, mean)
        changes -= changes @ basis.T @ basis
        components = np.linalg.svd(changes, full_matrices=False)[2]
        n_more = min(self.settings.n_directions, len(components))
        self._directions = np.concatenate([basis, components[:n_more]])
        self._n_states = len(basis)

    def _estimate_cells(
        self, ragged: Ragged, edits: Edits, cells: NDArray[np.int64], firsts: NDArray[np.int64]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Of each cell's edits the changes along the directions, and their places on the ranks."""

        def estimate(cell: int, _: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            own = edits.select(np.arange(firsts[cell], firsts[cell + 1]))
            tokens = ragged[0][ragged[1][cell] : ragged[1][cell + 1]]
            places = _places_on_ranks(own, len(tokens) - self.frame.n_tokens)
            return self._differences(tokens, own), places

        n_workers, n_threads = share_cores(len(cells))
        with start_workers(n_workers, n_threads) as submit:
            futures = [submit(estimate, cell, cell) for cell in cells.tolist()]
            return [future.result() for future in futures]

    def _split(
        self, changes: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Changes along the directions, and the logarithm of the square of what is beside them."""
        assert self._directions is not None  # noqa: S101  # _run_cells chooses them
        along = changes @ self._directions.T
        rest = ((changes - along @ self._directions) ** 2).sum(axis=1)
        return along, np.log(np.maximum(rest, np.finfo(float).tiny))

    def _respond(
        self,
        before: NDArray[np.float64],
        changes: NDArray[np.float64],
        errors: NDArray[np.float64],
    ) -> Responses:
        """What edits do, from their changes along the directions and the errors of these."""
        assert self._directions is not None  # noqa: S101  # _run_cells chooses them
        corrected = (changes + errors[:, :-1]) @ self._directions
        return _read_out(before, corrected, np.exp(errors[:, -1]), self.exact.states)

    def _differences(self, tokens: NDArray[np.int32], edits: Edits) -> NDArray[np.float64]:
        """(n_edits, K) estimates along the directions, before they are corrected."""
        directions = self._directions
        assert directions is not None  # noqa: S101  # _run_cells chooses them
        n_before, n_genes = self.frame.n_before, len(tokens) - self.frame.n_tokens
        genes = slice(n_before, n_before + n_genes) if self.mode == "cell" else None
        step = _UP if self.kind in ("delete", "inhibit") else _DOWN
        # As a gene is deleted, the first that moves up is the second.
        first_moved = n_before + (1 if step == _UP else 0)
        riders = Riders.none()
        if self.kind != "delete":
            riders = Riders(
                edits.tokens.astype(np.int64), edits.targets.astype(np.int64) + n_before
            )
        layer = self.embedder.layer
        here = differentiate(
            self._encoder, layer, tokens, directions,
            genes=genes, step=step, first_moved=first_moved, riders=riders,
        )  # fmt: skip
        moved = None
        if self._n_states:
            moved = differentiate(
                self._encoder, layer, tokens, directions[: self._n_states],
                genes=genes, step=step, first_moved=first_moved, is_moved=True,
            )  # fmt: skip
        moves = _Moves(here, moved, directions, first_moved)
        edit_of = np.repeat(np.arange(len(edits)), np.diff(edits.offsets))
        is_there, is_put = edits.ranks >= 0, edits.targets >= 0
        places = edits.ranks.astype(np.int64) + n_before
        targets = edits.targets.astype(np.int64) + n_before
        change = np.zeros((len(edits.tokens), len(directions)))
        change[is_there] -= here.presence.T[places[is_there]]
        if is_put.any():
            change[is_put] += here.rider_presence.T[is_put]
        if genes is not None:
            mean = here.hidden[:, genes].mean(axis=1)
            after = np.full(len(edits.tokens), n_genes) - (is_there & ~is_put) + (~is_there)
            own = np.where(is_there[:, None], here.hidden.T[places], mean)
            put = np.where(is_put[:, None], here.rider_hidden.T, mean) if is_put.any() else mean
            change += (put - own) / np.maximum(after, 1)[:, None]
        start, stop = _windows(self.kind, places, targets, len(tokens))
        change += moves.along(start, stop)
        total = np.zeros((len(edits), len(directions)))
        np.add.at(total, edit_of, change)
        return total


class _Moves:
    """What it does when the tokens from one place to another move by one.

    With the derivatives where none has moved, and where all have, a share m of all that move does
    Σ s_j + m/2 Σ (s'_j - s_j): their own, and what they do together. It is scaled so that for all
    tokens together it is what the second pass shows exactly.
    """

    def __init__(
        self,
        here: Sensitivity,
        moved: Sensitivity | None,
        directions: NDArray[np.float64],
        first: int,
    ) -> None:
        self.sums = np.pad(np.cumsum(here.place, axis=1), ((0, 0), (1, 0)))
        self.n_moving = max(here.place.shape[1] - first, 1)
        self.bend = np.zeros_like(self.sums)
        self.rest = np.zeros(len(directions))
        if moved is None:
            return
        n_both = len(moved.place)
        self.bend[:n_both, 1:] = np.cumsum(moved.place - here.place[:n_both], axis=1)
        all_moved = directions[:n_both] @ (moved.vector - here.vector)
        ends = slice(first, None)
        self.rest[:n_both] = all_moved - (
            (here.place[:n_both, ends] + moved.place[:, ends]).sum(axis=1) / 2
        )

    def along(self, start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n, K): the tokens at the places start … stop - 1 move."""
        share = ((stop - start) / self.n_moving)[:, None]
        plain = (self.sums[:, stop] - self.sums[:, start]).T
        bend = (self.bend[:, stop] - self.bend[:, start]).T
        return np.asarray(plain + share * (bend / 2 + self.rest))


def _windows(
    kind: EditType, places: NDArray[np.int64], targets: NDArray[np.int64], n_tokens: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which tokens close the gap of a gene, or make room for it."""
    if kind == "delete":
        return places + 1, np.full(len(places), n_tokens)
    if kind == "inhibit":
        return places + 1, targets + 1
    # A gene that the cell lacks has a place before its target: all tokens make room.
    is_absent = places < targets
    return np.asarray(targets), np.where(is_absent, n_tokens, places)


def _spread(start: int, stop: int, n_most: int, shift: float) -> NDArray[np.int64]:
    """Some edits of a cell, spread evenly over their order; `shift` moves them, from 0 to 1."""
    n_edits = stop - start
    n_chosen = min(n_most, n_edits)
    places = (np.arange(n_chosen) + shift) * n_edits / max(n_chosen, 1)
    return start + np.unique(places.astype(np.int64))


def _places_on_ranks(edits: Edits, n_genes: int) -> NDArray[np.float64]:
    """(n_edits,) the mean rank of each edit's genes as a share of all."""
    sizes = np.diff(edits.offsets)
    ranks = np.where(edits.ranks >= 0, edits.ranks / max(n_genes, 1), _NO_RANK)
    return np.asarray(np.add.reduceat(ranks, edits.offsets[:-1]) / sizes)


def _read_out(
    before: NDArray[np.float64],
    changes: NDArray[np.float64],
    rest: NDArray[np.float64],
    states: NDArray[np.float64],
) -> Responses:
    """Cosines and shifts of embeddings that changed; `before` is one of all, or one of each.

    `rest` is the square of what is at right angles to the directions.
    """
    after = before + changes
    squared = (after**2).sum(axis=1) + rest
    length = np.linalg.norm(before, axis=-1)
    cosines = (after * before).sum(axis=1) / np.sqrt(squared) / length
    of_states = states / np.linalg.norm(states, axis=1, keepdims=True)
    shifts = after @ of_states.T / np.sqrt(squared)[:, None]
    return Responses(cosines, None, shifts - (before.T / length).T @ of_states.T)


def _orthonormal(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions of vectors, the first one's first; without those that are nearly of the others."""
    basis: list[NDArray[np.float64]] = []
    longest = 0.0
    for vector in vectors:
        own = vector - sum((vector @ each) * each for each in basis)
        longest = max(longest, float(np.linalg.norm(own)))
        if longest > 0 and np.linalg.norm(own) >= _NEGLIGIBLE * longest:
            basis.append(own / np.linalg.norm(own))
    return np.array(basis).reshape(len(basis), vectors.shape[1])
