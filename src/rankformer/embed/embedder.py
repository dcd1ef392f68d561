"""Embeddings of cells and genes: batches run through the encoder, hidden states pooled.

Shapes: T packed tokens, C cells, D hidden, H heads, L tokens of one cell.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from copy import deepcopy
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.model_folder import AnyModel
from rankformer.embed.batches import CellBatch, GeneBatch
from rankformer.embed.settings import CellMode
from rankformer.embed.settled_model import check_mode, settle_model
from rankformer.errors import CheckpointError, SettingsError
from rankformer.model.batching import (
    PartCells,
    Submit,
    TokenBudget,
    compute_now,
    run_batches,
    run_parts,
)
from rankformer.model.cpu.int8 import put_int8_products
from rankformer.model.cpu.workers import share_cores, start_workers
from rankformer.model.device import HostCopy, move_to
from rankformer.model.encoder import Encoder, PackedBatch
from rankformer.model.pooling import GenePlaces, cls_of_cells, mean_of_genes
from rankformer.model.precision import choose_attention
from rankformer.model.spec import LayerNumbering
from rankformer.ragged import Ragged
from rankformer.results.gene_embeddings import GeneVectors

P = TypeVar("P")
R = TypeVar("R")
B = TypeVar("B", CellBatch, GeneBatch)
# Batches of cells that a GPU has in its queue while results are put away; those of genes are large.
_CELLS_AHEAD, _GENES_AHEAD = 8, 2


class Embedder:
    """A checkpoint made ready to embed: on a device, in a dtype, for one layer.

    Parameters
    ----------
    checkpoint
        Gives weights and vocabulary; or its name or folder, as of `Checkpoint.open`.
    emb_layer, layer_numbering
        The hidden state to take; see `EncoderSpec.hidden_state_index`.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    dtype
        ``"auto"`` (bfloat16 where that is faster, see `choose_dtype`), ``"float32"``,
        ``"bfloat16"``, ``"float16"``; ``"int8"``, on CPUs with AVX512-VNNI, where products take 8
        bits (see `Int8Linear`), attention 13 (`attend_rounded`) and all else is float32. Results
        are float32 in any case.
    batch_size
        The most cells of one batch; as many as the memory allows unless given.
    encoder
        Weights to take instead of the checkpoint's: those of a model that is being trained.

    Raises
    ------
    SettingsError, CheckpointError
        If a setting is outside what model and machine allow, or the weights do not load; of what it
        computes, also where the embedding of a cell with genes is not finite.
    """

    def __init__(
        self,
        checkpoint: AnyModel,
        *,
        emb_layer: int = -1,
        layer_numbering: LayerNumbering = "hidden_states",
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        if batch_size is not None and (
            not isinstance(batch_size, int | np.integer) or batch_size < 1
        ):
            raise SettingsError(
                f"A batch size of {batch_size} was asked for.",
                "A whole number of cells, at least 1.",
                "Leave batch_size (--batch-size) out to let the memory decide.",
            )
        checkpoint = self.checkpoint = Checkpoint.open(checkpoint)
        settled = settle_model(
            checkpoint, emb_layer=emb_layer, layer_numbering=layer_numbering, device=device,
            dtype=dtype,
        )  # fmt: skip
        self.layer, self.device = settled.layer, settled.device
        self.dtype, self.precision = settled.dtype, settled.precision
        takes_int8 = self.precision == "int8"
        # A copy: what is being trained keeps its dtype and device.
        own = deepcopy(encoder) if encoder is not None else checkpoint.encoder(self.dtype)
        self.encoder = own.to(self.device, self.dtype).eval()
        if takes_int8:
            put_int8_products(self.encoder)
        self.encoder.attend_by(choose_attention(self.precision, self.device))
        n_at_once = torch.get_num_threads() if self.device.type == "cpu" else 1
        self.budget = TokenBudget.for_memory(
            checkpoint.spec, self.device, self.dtype, batch_size, n_at_once
        )
        vocabulary = checkpoint.vocabulary
        self._n_before = int(vocabulary.cls_token is not None)
        self._n_behind = int(vocabulary.eos_token is not None)

    @property
    def d_model(self) -> int:
        return self.checkpoint.spec.d_model

    def cells(self, ragged: Ragged, mode: CellMode = "cell") -> NDArray[np.float32]:
        """One vector a cell, in the input's order.

        Parameters
        ----------
        ragged
            Tokens of the cells, with their special tokens.
        mode
            ``"cell"``: the mean over gene tokens. ``"cls"``: the vector of ``<cls>``.

        Returns
        -------
        (n_cells, d_model) float32; NaN for a cell without a gene token.

        Raises
        ------
        SettingsError
            If `mode` is ``"cls"`` and the vocabulary has no ``<cls>``.
        """
        vectors = np.empty((len(ragged[1]) - 1, self.d_model), np.float32)
        for start, stop, pooled in self.cell_batches(ragged, mode):
            vectors[start:stop] = pooled
        return vectors

    def cell_batches(
        self, ragged: Ragged, mode: CellMode = "cell"
    ) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """As `cells`, a batch at a time: first cell, the one behind the last, their vectors."""
        n_cells = len(ragged[1]) - 1
        with closing(self.stream_cells(iter([ragged]), _itself, mode, n_cells)) as batches:
            for _, start, stop, batch in batches:
                if batch is not None:
                    yield start, stop, batch.vectors()

    def stream_cells(
        self,
        parts: Iterator[P],
        tokens_of: Callable[[P], Ragged],
        mode: CellMode = "cell",
        n_cells: int | None = None,
    ) -> Generator[tuple[P, int, int, CellBatch | None], None, None]:
        """One vector a cell of parts that come, without a pause between one part and the next.

        Parameters
        ----------
        parts
            In order, as of `run_parts`.
        tokens_of
            Gives the tokens of a part, with their special tokens.
        mode
            As of `cells`.
        n_cells
            Cells of all parts, if known: a CPU runs few with several threads each.

        Yields
        ------
        Part, its first cell, the one behind the last, and their vectors; None of a part without
        cells. Until they are read, the next batches are computed.
        """
        self.check_mode(mode)

        def pool(hidden_TD: Tensor, own: Ragged) -> CellBatch:
            lengths = np.diff(own[1])
            has_genes = lengths > self._n_before + self._n_behind
            pooled = HostCopy(self.pool(hidden_TD, own[1], mode))
            return CellBatch(pooled, self.check_finite, lengths, has_genes)

        yield from self._stream(parts, tokens_of, pool, n_cells, _CELLS_AHEAD)

    def pool(self, hidden_TD: Tensor, offsets: NDArray[np.int64], mode: CellMode) -> Tensor:
        """(C, D) float32 on the device: one vector for each cell, as `cells` has them."""
        genes = self.gene_places(offsets)
        if mode == "cls":
            return cls_of_cells(hidden_TD, offsets, genes)
        return mean_of_genes(hidden_TD, genes)

    def check_mode(self, mode: CellMode) -> None:
        """Refuse a mode that there is not, or that the vocabulary does not allow."""
        check_mode(mode, self.checkpoint)

    def genes(self, ragged: Ragged) -> Iterator[GeneVectors]:
        """Vectors of all gene tokens, a batch of consecutive cells at a time."""
        n_cells = len(ragged[1]) - 1
        with closing(self.stream_genes(iter([ragged]), _itself, n_cells)) as batches:
            for _, start, _, batch in batches:
                if batch is not None:
                    yield batch.vectors(start)

    def stream_genes(
        self, parts: Iterator[P], tokens_of: Callable[[P], Ragged], n_cells: int | None = None
    ) -> Generator[tuple[P, int, int, GeneBatch | None], None, None]:
        """Vectors of all gene tokens of parts that come; see `stream_cells`."""

        def keep_genes(hidden_TD: Tensor, own: Ragged) -> GeneBatch:
            values, offsets = own
            genes = self.gene_places(offsets)
            places = move_to(torch.from_numpy(genes.places), self.device)
            found = HostCopy(hidden_TD[places].float())
            return GeneBatch(found, self.check_finite, values[genes.places], genes.offsets)

        yield from self._stream(parts, tokens_of, keep_genes, n_cells, _GENES_AHEAD)

    def attention(self, ragged: Ragged, layer: int | None = None) -> list[NDArray[np.float32]]:
        """Attention weights of each cell.

        Parameters
        ----------
        ragged
            Tokens of the cells, with their special tokens.
        layer
            As Hugging Face counts, from 1, or -1 for the last; the layer that makes the embedding
            unless given.

        Returns
        -------
        A list of (n_heads, length, length) float32, special tokens included: row i holds the
        weights with which token i attends to the others. Their size grows with the square of the
        length: ask for a few cells.

        Raises
        ------
        SettingsError
            If it is the embedding layer, which does not attend, or there is no such layer.
        """
        index = self.layer if layer is None else layer
        weights: list[NDArray[np.float32]] = []

        @torch.inference_mode()
        def attend(start: int, stop: int) -> list[NDArray[np.float32]]:
            batch = PackedBatch.pack(ragged, start, stop, self.device)
            return [each.cpu().numpy() for each in self.encoder.attention(batch, index)]

        for _, _, each in run_batches(attend, ragged[1], self.budget):
            weights.extend(each)
        return weights

    def run(
        self,
        pack: Callable[[int, int], PackedBatch],
        offsets: NDArray[np.int64],
        read: Callable[[Tensor, int, int], R],
    ) -> Iterator[tuple[int, int, R]]:
        """Run packed cells through the encoder, as many at once as memory allows.

        Parameters
        ----------
        pack
            Makes the batch of the cells from the first to the one before the last.
        offsets
            (n_cells + 1,) where each cell's tokens begin.
        read
            Called with hidden states (T, D) of the cells from the first to the one before the last;
            perhaps by several threads at once.

        Yields
        ------
        First cell, the one behind the last, and what `read` returned; in the cells' order.
        """

        @torch.inference_mode()
        def compute(start: int, stop: int) -> R:
            return read(self.encoder(pack(start, stop), self.layer), start, stop)

        with self._submitting(len(offsets) - 1) as (submit, n_ahead):
            yield from run_batches(compute, offsets, self.budget, submit, n_ahead)

    def _stream(
        self,
        parts: Iterator[P],
        tokens_of: Callable[[P], Ragged],
        pool: Callable[[Tensor, Ragged], B],
        n_cells: int | None,
        n_ahead: int,
    ) -> Generator[tuple[P, int, int, B | None], None, None]:
        """`pool` gets hidden states and tokens of the cells of a batch."""

        def cells_of(part: P) -> PartCells[B]:
            ragged = tokens_of(part)
            values, offsets = ragged

            @torch.inference_mode()
            def compute(start: int, stop: int) -> B:
                batch = PackedBatch.pack(ragged, start, stop, self.device)
                hidden_TD = self.encoder(batch, self.layer)
                own = values[offsets[start] : offsets[stop]]
                return pool(hidden_TD, (own, offsets[start : stop + 1] - offsets[start]))

            return PartCells(offsets, compute)

        with self._submitting(n_cells, n_ahead) as (submit, most):
            batches = run_parts(parts, cells_of, self.budget, submit, most)
            for part, start, stop, batch in batches:
                if batch is not None:
                    batch.wait()
                yield part, start, stop, batch

    @contextmanager
    def _submitting(
        self, n_cells: int | None, n_ahead: int = 2
    ) -> Iterator[tuple[Submit[Any], int]]:
        """How batches are handed over, and how many at most before the first is waited for."""
        if self.device.type != "cpu":
            # Those that follow are queued before one is waited for.
            yield compute_now, n_ahead
            return
        n_workers, n_threads = share_cores(n_cells)
        with start_workers(n_workers, n_threads) as submit:
            yield submit, 2 * n_workers if n_workers > 1 else 1

    def check_finite(self, vectors: NDArray[Any]) -> None:
        """Refuse vectors of which a number is NaN or infinite.

        Raises
        ------
        CheckpointError
            If there is one.
        """
        # One that is not finite makes the sum so, without an array of marks.
        if np.isfinite(vectors.sum(dtype=np.float64)):
            return
        n_odd = int((~np.isfinite(vectors)).any(axis=1).sum())
        raise CheckpointError(
            f"{n_odd:,} of {len(vectors):,} vectors of a batch hold NaN or infinite values, with "
            f"the model {self.checkpoint.name} in {self.precision}.",
            "Finite embeddings of all cells that have genes.",
            'Try dtype="float32" (--dtype float32); if they stay so, the weights are damaged: '
            "take the checkpoint from where it came from again.",
        )

    def gene_places(self, offsets: NDArray[np.int64]) -> GenePlaces:
        """Where the gene tokens of packed cells are, which begin at `offsets`."""
        return GenePlaces.of_cells(offsets, self._n_before, self._n_behind)


def _itself(ragged: Ragged) -> Ragged:
    return ragged


AnyEmbedder: TypeAlias = Embedder | AnyModel
"""An embedder, or the model to make one of; see `open_embedder`."""


def open_embedder(model: AnyEmbedder, **settings: Any) -> Embedder:
    """Make an `Embedder` of a model's name, folder or checkpoint; `settings` are the embedder's.

    An embedder is given back as it is.
    """
    return model if isinstance(model, Embedder) else Embedder(model, **settings)
