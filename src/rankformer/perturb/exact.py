"""Exact in silico perturbation: each edited cell runs through the encoder, packed.

Shapes: T packed tokens, C cells, S states, D hidden.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity

from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.model.batching import TokenBudget
from rankformer.model.device import HostCopy, move_to
from rankformer.model.encoder import PackedBatch
from rankformer.model.pooling import GenePlaces, mean_of_genes
from rankformer.perturb.settings import READ_OUTS, ReadOut
from rankformer.ragged import Ragged
from rankformer.tokens.edits import Edits, Frame, Originals, find_originals

# Cells whose unedited hidden states are kept at once, in tokens: some hundred MB with large models.
_BLOCK_TOKENS = 65_536
_NOT_THERE = -1


def dtype_of_read_out(read_out: ReadOut, dtype: str) -> str:
    """The dtype to run in: of one vector a cell, ``"auto"`` takes float32.

    Of a mean over genes the rounding of bfloat16 averages out; of ``<cls>`` it does not, and what
    one gene does to it is often less.
    """
    return "float32" if read_out == "cls" and dtype == "auto" else dtype


@dataclass(frozen=True, eq=False)
class Responses:
    """What edits did to cells.

    Attributes
    ----------
    cosines
        (n_edits,) float64: the cosine of the edited cell's embedding and the unedited one's.
    gene_cosines
        (n_edits,) float64: the mean, over the genes that were not edited, of the cosine of each
        gene's vector and its own in the unedited cell. None with the read-out ``"cls"``.
    shifts
        (n_edits, n_states) float64: the cosine with each state after the edit, less before.
    affected
        With the read-out ``"gene"``, the cosine of each gene that was not edited; else None.
    """

    cosines: NDArray[np.float64]
    gene_cosines: NDArray[np.float64] | None
    shifts: NDArray[np.float64]
    affected: "AffectedGenes | None" = None


@dataclass(frozen=True, eq=False)
class AffectedGenes:
    """How far genes moved that were not edited.

    Attributes
    ----------
    offsets
        (n_edits + 1,) int64: edit e has the values ``offsets[e]`` … ``offsets[e + 1] - 1``.
    tokens
        (n_values,) int32, in the order of the edited cell's ranks.
    cosines
        (n_values,) float32: of the gene's vector after and before.
    """

    offsets: NDArray[np.int64]
    tokens: NDArray[np.int32]
    cosines: NDArray[np.float32]


class ExactPerturber:
    """Runs edited cells and compares them with the unedited ones.

    Parameters
    ----------
    embedder
        The model.
    read_out
        ``"cell"``: embeddings are means over genes. ``"cls"``: vectors of ``<cls>`` (V2 models).
        ``"gene"``: as ``"cell"``, and each gene by itself.
    states
        (n_states, d_model) embeddings of states, towards which shifts are measured.

    Raises
    ------
    SettingsError
        If there is no such read-out, or the model has no ``<cls>``.
    """

    def __init__(
        self, embedder: Embedder, read_out: ReadOut, states: NDArray[np.float64] | None = None
    ) -> None:
        if read_out not in READ_OUTS:
            raise SettingsError(
                f"The read-out is {read_out!r}.",
                f"One of {', '.join(READ_OUTS)}.",
                "Correct the read-out (--read-out).",
            )
        self.embedder = embedder
        self.read_out = read_out
        self.mode: Literal["cell", "cls"] = "cls" if read_out == "cls" else "cell"
        embedder.check_mode(self.mode)
        self.states = np.empty((0, embedder.d_model)) if states is None else states
        self.frame = Frame.of(embedder.checkpoint.vocabulary)

    def run(self, ragged: Ragged, edits: Edits) -> Iterator[tuple[int, int, Responses]]:
        """Run the edits of some cells, which are run unedited first.

        Parameters
        ----------
        ragged
            Tokens of the cells. Their hidden states are kept: pass `blocks_of_cells` at a time.
        edits
            What is done to them.

        Yields
        ------
        First edit, the one behind the last, and what they did; in the edits' order.

        Raises
        ------
        CheckpointError
            If an embedding is not finite.
        """
        if not len(edits):
            return
        comparison = _Comparison(self, ragged, edits, self.find_originals(edits, ragged))
        for start, stop, read in self.embedder.run(
            comparison.packer.pack, edits.token_offsets, comparison.read
        ):
            responses = comparison.finish(read)
            self.embedder.check_finite(responses.cosines)
            yield start, stop, responses

    def embed_edits(
        self, ragged: Ragged, edits: Edits
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Embeddings before and after each edit.

        Returns
        -------
        Two arrays (n_edits, d_model), float64: of the unedited cell, and of the edited one.
        """
        originals = self.find_originals(edits, ragged)
        before, after = self._embed(ragged, originals.cells), self._embed(ragged, edits)
        return before[originals.of_edit], after

    def _embed(self, ragged: Ragged, edits: Edits) -> NDArray[np.float64]:
        packer = Packer(self, ragged, edits)

        def read(hidden_TD: Tensor, start: int, stop: int) -> HostCopy:
            return HostCopy(packer.pool(hidden_TD, start, stop))

        vectors = np.empty((len(edits), self.embedder.d_model))
        for start, stop, own in self.embedder.run(packer.pack, packer.offsets, read):
            vectors[start:stop] = own.numpy()
            self.embedder.check_finite(vectors[start:stop])
        return vectors

    def find_originals(self, edits: Edits, ragged: Ragged) -> Originals:
        return find_originals(edits, ragged, self.frame)

    def run_originals(self, ragged: Ragged, originals: Edits) -> "OriginalStates":
        """Run cells unedited, and keep what edited ones are compared with."""
        return OriginalStates.run(self, ragged, originals)


class Packer:
    """Packs edited cells as they are run, and pools their hidden states.

    Attributes
    ----------
    offsets
        (n_edits + 1,) where each edited cell would begin, laid end to end.
    """

    def __init__(self, perturber: ExactPerturber, ragged: Ragged, edits: Edits) -> None:
        self.perturber, self.ragged, self.edits = perturber, ragged, edits
        self.offsets = edits.token_offsets
        pool = torch.from_numpy(edits.pool(ragged).astype(np.int64))
        self._pool = move_to(pool, perturber.embedder.device)

    def pack(self, start: int, stop: int) -> PackedBatch:
        indices = self.edits.indices(self.ragged, self.perturber.frame, start, stop)
        return PackedBatch.gather(self._pool, indices, self.own_offsets(start, stop))

    def pool(self, hidden_TD: Tensor, start: int, stop: int) -> Tensor:
        """(C, D) float32: the embeddings of some of them."""
        own = self.own_offsets(start, stop)
        return self.perturber.embedder.pool(hidden_TD, own, self.perturber.mode)

    def own_offsets(self, start: int, stop: int) -> NDArray[np.int64]:
        own: NDArray[np.int64] = self.offsets[start : stop + 1] - self.offsets[start]
        return own


@dataclass(frozen=True, eq=False)
class OriginalStates:
    """Unedited cells after the encoder.

    Attributes
    ----------
    vectors_CD
        Their embeddings, float32 on the device.
    hidden_TD
        Hidden states of all their tokens, end to end; None with the read-out ``"cls"``.
    row_offsets
        (C + 1,) where each cell's places begin in `row_of_place`.
    row_of_place
        Place in the cell as it was given → row of `hidden_TD`, or -1 where it was cropped.
    """

    vectors_CD: Tensor
    hidden_TD: Tensor | None
    row_offsets: NDArray[np.int64]
    row_of_place: NDArray[np.int64]

    @classmethod
    def run(cls, perturber: ExactPerturber, ragged: Ragged, originals: Edits) -> "OriginalStates":
        packer, keeps = Packer(perturber, ragged, originals), perturber.read_out != "cls"

        def read(hidden_TD: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
            return packer.pool(hidden_TD, start, stop), hidden_TD if keeps else None

        run = perturber.embedder.run(packer.pack, packer.offsets, read)
        parts = [part for *_, part in run]
        hidden = [each for _, each in parts if each is not None]
        lengths = np.diff(ragged[1])[originals.cells]
        row_offsets = np.concatenate([[0], np.cumsum(lengths)])
        row_of_place = np.full(row_offsets[-1], _NOT_THERE)
        indices = originals.indices(ragged, perturber.frame, 0, len(originals))
        shift = row_offsets[:-1] - ragged[1][originals.cells]
        row_of_place[indices + np.repeat(shift, originals.lengths)] = np.arange(len(indices))
        return cls(
            torch.cat([pooled for pooled, _ in parts]),
            torch.cat(hidden) if hidden else None,
            row_offsets,
            row_of_place,
        )


@dataclass(frozen=True, eq=False)
class _Read:
    """What is read of a batch on the device."""

    cells: HostCopy
    """(C, 2 + S) float64: cosine, mean cosine of genes, shifts."""
    genes: HostCopy | None
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]


class _Comparison:
    """Edited cells of one block, beside the unedited ones."""

    def __init__(
        self, perturber: ExactPerturber, ragged: Ragged, edits: Edits, originals: Originals
    ) -> None:
        self.perturber, self.ragged, self.edits, self.originals = (
            perturber, ragged, edits, originals,
        )  # fmt: skip
        self.packer = Packer(perturber, ragged, edits)
        self.pool = edits.pool(ragged)
        device = perturber.embedder.device
        self.before = perturber.run_originals(ragged, originals.cells)
        # Not all devices have float64.
        exact = torch.float32 if device.type == "mps" else torch.float64
        self.states_SD = torch.from_numpy(perturber.states).to(device, exact)
        self.vectors_CD = self.before.vectors_CD.to(exact)
        self.with_states_CS = _cosines_with(self.vectors_CD, self.states_SD)

    def read(self, hidden_TD: Tensor, start: int, stop: int) -> _Read:
        pooled_CD = self.packer.pool(hidden_TD, start, stop).to(self.vectors_CD.dtype)
        of_edit = move_to(torch.from_numpy(self.originals.of_edit[start:stop]), hidden_TD.device)
        cosines_C = cosine_similarity(pooled_CD, self.vectors_CD[of_edit], dim=1)
        shifts_CS = _cosines_with(pooled_CD, self.states_SD) - self.with_states_CS[of_edit]
        if self.before.hidden_TD is None:
            nothing_C = torch.full_like(cosines_C, torch.nan)
            table = torch.cat([torch.stack([cosines_C, nothing_C], dim=1), shifts_CS], dim=1)
            nothing = np.zeros(stop - start + 1, np.int64)
            return _Read(HostCopy(table), None, np.empty(0, np.int32), nothing)
        places, rows, tokens, offsets = self._other_genes(start, stop)
        places_G, rows_G = (
            move_to(torch.from_numpy(each), hidden_TD.device) for each in (places, rows)
        )
        genes_G = cosine_similarity(
            hidden_TD[places_G].float(), self.before.hidden_TD[rows_G].float(), dim=1
        )
        by_edit = GenePlaces(np.arange(len(places)), offsets)
        means_C = mean_of_genes(genes_G.unsqueeze(1), by_edit).squeeze(1)
        table = torch.cat(
            [torch.stack([cosines_C, means_C.to(cosines_C.dtype)], dim=1), shifts_CS], dim=1
        )
        wants_genes = self.perturber.read_out == "gene"
        return _Read(HostCopy(table), HostCopy(genes_G) if wants_genes else None, tokens, offsets)

    def finish(self, read: _Read) -> Responses:
        table = read.cells.numpy().astype(np.float64)
        affected = None
        if read.genes is not None:
            affected = AffectedGenes(read.offsets, read.tokens, read.genes.numpy())
        has_genes = self.before.hidden_TD is not None
        return Responses(table[:, 0], table[:, 1] if has_genes else None, table[:, 2:], affected)

    def _other_genes(
        self, start: int, stop: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """Of genes that were not edited: place in the batch, row before, token; and offsets."""
        edits, frame, own = self.edits, self.perturber.frame, self.packer.own_offsets(start, stop)
        indices = edits.indices(self.ragged, frame, start, stop)
        genes = self.perturber.embedder.gene_places(own)
        is_other = np.zeros(len(indices), bool)
        is_other[genes.places] = True
        moves = slice(edits.offsets[start], edits.offsets[stop])
        edit_of_move = np.repeat(np.arange(stop - start), np.diff(edits.offsets[start : stop + 1]))
        targets = edits.targets[moves]
        there = targets >= 0
        is_other[own[edit_of_move[there]] + frame.n_before + targets[there]] = False
        places = np.flatnonzero(is_other)
        edit_of_place = np.repeat(np.arange(stop - start), np.diff(own))[places]
        original = self.originals.of_edit[start:stop][edit_of_place]
        in_cell = indices[places] - self.ragged[1][edits.cells[start:stop][edit_of_place]]
        row_of_place, row_offsets = self.before.row_of_place, self.before.row_offsets
        rows = row_of_place[row_offsets[original] + in_cell]
        counts = np.bincount(edit_of_place, minlength=stop - start)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        tokens: NDArray[np.int32] = self.pool[indices[places]]
        return places, rows, tokens, offsets


def blocks_of_cells(offsets: NDArray[np.int64], embedder: Embedder) -> Iterator[tuple[int, int]]:
    """Cut cells into blocks whose hidden states may be kept: the first, the one behind the last."""
    budget = TokenBudget(max(_BLOCK_TOKENS, embedder.budget.n_tokens))
    start = 0
    while start < len(offsets) - 1:
        stop = budget.next_stop(offsets, start)
        yield start, stop
        start = stop


def _cosines_with(vectors_CD: Tensor, states_SD: Tensor) -> Tensor:
    return cosine_similarity(vectors_CD.unsqueeze(1), states_SD.unsqueeze(0), dim=2)
