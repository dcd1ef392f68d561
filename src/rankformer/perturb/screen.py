"""A screen of all genes: the effect of each edit estimated from a few passes a cell.

The change of a cell's embedding is estimated along a few directions: those of the states, and those
in which embeddings change most, as exact runs of some genes show (their principal components).
Along each, the estimate of an edit is a sum of first derivatives
(`rankformer.perturb.sensitivity`): the gene's presence, its own part of the mean, and the moves of
the tokens that make room or close the gap. What tokens do together as they move is the largest
error of the first order; along the directions of the states it is taken from a second set of
derivatives, where all tokens have moved.
What is left, smooth along the ranks, is learned from the exact runs by Gaussian process regression
(Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, ch. 2).

``docs/perturbation-screen.md`` derives it.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rankformer.data.edits import Edits, EditType
from rankformer.errors import SettingsError
from rankformer.model.workers import share_cores, start_workers
from rankformer.perturb.exact import ExactPerturber, Responses
from rankformer.perturb.sensitivity import Riders, Sensitivity, differentiate
from rankformer.perturb.trust import Trust
from rankformer.ragged import Ragged

logger = logging.getLogger(__name__)
# Of the Gaussian process: length along the ranks, as a share of them; variance of what all ranks of
# a cell have in common and of each gene's own, where that of the smooth part is 1.
_LENGTH, _COMMON, _OWN = 0.2, 0.5, 0.3
_UP, _DOWN = -1, 1
# A gene that the cell lacks has no rank: it stands far from all that have one.
_NO_RANK = 10.0


@dataclass(frozen=True)
class ScreenSettings:
    """How closely a screen estimates.

    Attributes
    ----------
    n_exact
        Edits of each cell that are run exactly, spread over its ranks: they correct the estimates
        and measure their trust. At least 2.
    n_directions
        Directions beside those of the states, for how far the embedding moves.
    """

    n_exact: int = 4
    n_directions: int = 6

    def __post_init__(self) -> None:
        if self.n_exact < 2 or self.n_directions < 0:
            raise SettingsError(
                f"A screen with {self.n_exact} exact runs a cell and {self.n_directions} "
                "directions was asked for.",
                "At least 2 exact runs, and 0 or more directions.",
                "Correct n_exact (--exact-runs) and n_directions (--directions).",
            )


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
        self.read_out, self.pooling = exact.read_out, exact.pooling
        self.trust = Trust(n_states=len(exact.states))
        self._encoder = (
            exact.embedder.checkpoint.encoder(torch.float32).to(exact.embedder.device).eval()
        )
        self._directions: NDArray[np.float64] | None = None

    def run(self, ragged: Ragged, edits: Edits) -> Iterator[tuple[int, int, Responses]]:
        """Estimate what edits do, those of a cell at a time; see `ExactPerturber.run`.

        The directions are chosen with the first cells that are given.
        """
        if not len(edits):
            return
        firsts = np.searchsorted(edits.cells, np.arange(len(ragged[1])))
        chosen = np.concatenate(
            [
                _spread(firsts[cell], firsts[cell + 1], self.settings.n_exact)
                for cell in range(len(ragged[1]) - 1)
            ]
        )
        before, after = self.exact.embed_edits(ragged, edits.select(chosen))
        if self._directions is None:
            self._directions = self._choose_directions(before, after)
        cells = [cell for cell in range(len(ragged[1]) - 1) if firsts[cell] < firsts[cell + 1]]

        def estimate(cell: int, _: int) -> Responses:
            own = edits.select(np.arange(firsts[cell], firsts[cell + 1]))
            is_own = (chosen >= firsts[cell]) & (chosen < firsts[cell + 1])
            tokens = ragged[0][ragged[1][cell] : ragged[1][cell + 1]]
            known = _Known(chosen[is_own] - firsts[cell], before[is_own], after[is_own])
            return self._estimate(tokens, own, known)

        n_workers, n_threads = share_cores(len(cells))
        with start_workers(n_workers, n_threads) as submit:
            futures = [submit(estimate, cell, cell) for cell in cells]
            for cell, future in zip(cells, futures, strict=True):
                yield int(firsts[cell]), int(firsts[cell + 1]), future.result()

    def _choose_directions(
        self, before: NDArray[np.float64], after: NDArray[np.float64]
    ) -> NDArray[np.float64]:
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
        return np.concatenate([basis, components[:n_more]])

    def _estimate(self, tokens: NDArray[np.int32], edits: Edits, known: "_Known") -> Responses:
        directions = self._directions
        assert directions is not None  # noqa: S101  # run chooses them
        raw = self._differences(tokens, edits, directions)
        x = _places_on_ranks(edits, len(tokens) - self.frame.n_tokens)
        vector = known.before[0]
        true = (known.after - known.before) @ directions.T
        rest = ((known.after - known.before) - true @ directions) ** 2
        rest = np.log(np.maximum(rest.sum(axis=1), np.finfo(float).tiny))[:, None]
        left, left_out = raw[known.edits], x[known.edits]
        states = self.exact.states

        def respond(places: Any, seen: Any) -> Responses:
            """What edits do, corrected by the exact runs `seen`."""
            correction = _regress(x[places], left_out[seen], true[seen] - left[seen])
            unseen = _regress(x[places], left_out[seen], rest[seen])[:, 0]
            changes = (raw[places] + correction) @ directions
            return _read_out(vector, changes, np.exp(unseen), states)

        everything = np.arange(len(known.edits))
        # One alone leaves nothing to predict it from.
        for held in everything if len(everything) > 1 else ():
            guess = respond(known.edits[[held]], np.delete(everything, held))
            exact = _read_out(
                vector, known.after[[held]] - known.before[[held]], np.zeros(1), states
            )
            self.trust.add(guess, exact)
        self.trust.end_cell()
        return respond(np.arange(len(edits)), everything)

    def _differences(
        self, tokens: NDArray[np.int32], edits: Edits, directions: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(n_edits, K) estimates along the directions, before they are corrected."""
        n_before, n_genes = self.frame.n_before, len(tokens) - self.frame.n_tokens
        genes = slice(n_before, n_before + n_genes) if self.pooling == "cell" else None
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
        n_states = len(self.exact.states)
        moved = None
        if n_states:
            moved = differentiate(
                self._encoder, layer, tokens, directions[:n_states],
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


@dataclass(frozen=True, eq=False)
class _Known:
    """Edits of a cell that were run exactly."""

    edits: NDArray[np.int64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]


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


def _spread(start: int, stop: int, n_most: int) -> NDArray[np.int64]:
    """Some edits of a cell, spread evenly over their order."""
    n_edits = stop - start
    n_chosen = min(n_most, n_edits)
    middles = (np.arange(n_chosen) + 0.5) * n_edits / max(n_chosen, 1)
    return start + np.unique(middles.astype(np.int64))


def _places_on_ranks(edits: Edits, n_genes: int) -> NDArray[np.float64]:
    """(n_edits,) the mean rank of each edit's genes as a share of all."""
    sizes = np.diff(edits.offsets)
    ranks = np.where(edits.ranks >= 0, edits.ranks / max(n_genes, 1), _NO_RANK)
    return np.asarray(np.add.reduceat(ranks, edits.offsets[:-1]) / sizes)


def _regress(
    x: NDArray[np.float64], known: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n, K) means of Gaussian processes, given (m, K) values at m places."""
    center = values.mean(axis=0)

    def covariance(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.exp(-0.5 * ((a[:, None] - b) / _LENGTH) ** 2) + _COMMON)

    weights = np.linalg.solve(covariance(known, known) + _OWN * np.eye(len(known)), values - center)
    return np.asarray(center + covariance(x, known) @ weights)


def _read_out(
    vector: NDArray[np.float64],
    changes: NDArray[np.float64],
    rest: NDArray[np.float64],
    states: NDArray[np.float64],
) -> Responses:
    """Cosines and shifts of changed embeddings; `rest` is the square of what is at right angles."""
    after = vector + changes
    squared = (after**2).sum(axis=1) + rest
    length = np.linalg.norm(vector)
    cosines = after @ vector / np.sqrt(squared) / length
    of_states = states / np.linalg.norm(states, axis=1, keepdims=True)
    shifts = after @ of_states.T / np.sqrt(squared)[:, None] - of_states @ vector / length
    return Responses(cosines, None, shifts)


def _orthonormal(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(vectors):
        return vectors
    basis = np.linalg.qr(vectors.T)[0].T
    return np.asarray(basis)
