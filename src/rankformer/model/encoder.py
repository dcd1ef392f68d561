"""The Geneformer encoder on packed batches: one module for inference and training.

It is BERT (post-layer-norm, learned positions) with four differences in how it is computed, none
in what: the tokens of several cells lie end to end instead of padded rows; query, key and value
are one product; layers above the one asked for are not run; and the masked-LM head stands apart.

Shapes: T packed tokens, C cells, H heads, K head size, D hidden, F feed-forward, V vocabulary.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from rankformer.errors import SettingsError
from rankformer.model.attention import attend, attention_weights
from rankformer.model.cuda.chosen_operations import operations_for
from rankformer.model.device import move_to
from rankformer.model.operations import Operations, drop
from rankformer.model.segments import Backend, Segments
from rankformer.model.spec import EncoderSpec
from rankformer.ragged import Ragged

# Rows come in multiples of this. With few rows, matrix libraries take other paths, and a cell's
# last digits would depend on how many cells run beside it; and oneDNN keeps a compiled product for
# each number of rows that it meets, a gigabyte of them in the end.
_ROWS = 64


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """Tokens of several cells, laid end to end; no padding.

    Attributes
    ----------
    tokens_T, positions_T
        int64, on the model's device: token and place within its cell, from 0.
    offsets
        C + 1 numbers: cell c has the tokens ``offsets[c]`` … ``offsets[c + 1]``. Behind the
        last cell is filler, which no cell attends to.
    """

    tokens_T: Tensor
    positions_T: Tensor
    offsets: tuple[int, ...]

    @classmethod
    def pack(
        cls, ragged: Ragged, start: int, stop: int, device: torch.device | str = "cpu"
    ) -> "PackedBatch":
        """Pack the cells start … stop - 1 of ragged tokens."""
        values, offsets = ragged
        own = offsets[start : stop + 1] - offsets[start]
        packed = _with_positions(values[offsets[start] : offsets[stop]], own)
        tokens_T, positions_T = move_to(torch.from_numpy(packed), device)
        return cls(tokens_T, positions_T, tuple(own.tolist()))

    @classmethod
    def gather(
        cls, pool: Tensor, indices: NDArray[np.int32], offsets: NDArray[np.int64]
    ) -> "PackedBatch":
        """Pack cells whose tokens are in a pool on the device.

        Parameters
        ----------
        pool
            int64 tokens, on the model's device.
        indices
            The cells' tokens, end to end, as places in the pool.
        offsets
            (C + 1,) where each cell begins in `indices`.
        """
        packed = torch.from_numpy(_with_positions(indices, offsets))
        indices_T, positions_T = move_to(packed, pool.device)
        return cls(pool[indices_T], positions_T, tuple(offsets.tolist()))

    @cached_property
    def segments(self) -> Segments:
        """The cells that have tokens, and the filler as a last one where there is some."""
        return Segments.between((*self.offsets, len(self.tokens_T)), self.tokens_T.device)

    @property
    def offsets_on_device(self) -> Tensor:
        """(C + 1,) int64, the offsets on the model's device; their copy is not waited for."""
        return move_to(torch.tensor(self.offsets), self.tokens_T.device)

    def __len__(self) -> int:
        return len(self.offsets) - 1


def _with_positions(values: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """(2, n_rows): values of cells and the place of each within its cell, with filler behind."""
    n_values = offsets[-1]
    packed = np.zeros((2, max(-(-n_values // _ROWS), 1) * _ROWS), dtype=np.int64)
    packed[0, :n_values] = values
    packed[1, :n_values] = np.arange(n_values) - np.repeat(offsets[:-1], np.diff(offsets))
    return packed


class Embeddings(nn.Module):
    """Token + position + type 0, normalised."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.token = nn.Embedding(spec.vocab_size, spec.d_model, padding_idx=spec.pad_token)
        self.position = nn.Embedding(spec.max_positions, spec.d_model)
        self.token_type = nn.Embedding(spec.n_types, spec.d_model)
        self.norm = nn.LayerNorm(spec.d_model, eps=spec.layer_norm_eps)
        self.dropout = spec.dropout
        self.operations: Operations | None = None

    def forward(self, batch: PackedBatch) -> Tensor:
        operations = self.operations or operations_for(self.token.weight)
        embedded_TD = operations.embed(self, batch.tokens_T, batch.positions_T)
        return drop(embedded_TD, self.dropout if self.training else 0.0)


class Layer(nn.Module):
    """Self-attention and feed-forward, each added to its input and normalised after."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.n_heads = spec.n_heads
        self.activation = spec.activation
        self.attend: Backend = attend
        self.operations: Operations | None = None
        self.attention_dropout = spec.attention_dropout
        self.qkv = nn.Linear(spec.d_model, 3 * spec.d_model)
        self.attention_out = nn.Linear(spec.d_model, spec.d_model)
        self.attention_norm = nn.LayerNorm(spec.d_model, eps=spec.layer_norm_eps)
        self.ffn_in = nn.Linear(spec.d_model, spec.d_ff)
        self.ffn_out = nn.Linear(spec.d_ff, spec.d_model)
        self.ffn_norm = nn.LayerNorm(spec.d_model, eps=spec.layer_norm_eps)
        self.dropout = spec.dropout

    def project(self, hidden_TD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (T, H, K)."""
        query, key, value = self.qkv(hidden_TD).view(len(hidden_TD), 3, self.n_heads, -1).unbind(1)
        return query, key, value

    def forward(
        self, hidden_TD: Tensor, segments: Segments, attend: Backend | None = None
    ) -> Tensor:
        shares = (self.attention_dropout, self.dropout) if self.training else (0.0, 0.0)
        of_attention, dropout = shares
        attend = attend or self.attend
        operations = self.operations or operations_for(hidden_TD)
        mixed_THK = attend(*self.project(hidden_TD), segments, of_attention)
        attended_TD = self.attention_out(mixed_THK.flatten(1))
        hidden_TD = operations.add_norm(attended_TD, hidden_TD, self.attention_norm, dropout)
        inner_TF = operations.expand(self.ffn_in, hidden_TD, self.activation)
        fed_TD = self.ffn_out(inner_TF)
        return operations.add_norm(fed_TD, hidden_TD, self.ffn_norm, dropout)


class Encoder(nn.Module):
    """Tokens in, hidden states out.

    Weights are drawn as BERT's are; `rankformer.checkpoints.weights` puts a checkpoint's in.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.embeddings = Embeddings(spec)
        self.layers = nn.ModuleList(Layer(spec) for _ in range(spec.n_layers))
        self.recompute = False
        """In training, compute activations again in the backward pass rather than keep them."""
        self.apply(self._initialize)

    def forward(self, batch: PackedBatch, layer: int = -1, attend: Backend | None = None) -> Tensor:
        """Hidden states of all tokens after a layer.

        Parameters
        ----------
        batch
            C cells, T tokens.
        layer
            Which hidden state, as Hugging Face counts: 0 after the embedding layer, -1 the last.
            Layers above it are not computed.
        attend
            Computes attention in place of the layers' own.

        Returns
        -------
        (T, D), in the dtype of the weights.
        """
        hidden_TD = self.embeddings(batch)
        for each in self.layers[: self.spec.hidden_state_index(layer)]:
            if self.recompute and self.training:
                hidden_TD = checkpoint(each, hidden_TD, batch.segments, attend, use_reentrant=False)
            else:
                hidden_TD = each(hidden_TD, batch.segments, attend)
        return hidden_TD[: batch.offsets[-1]]  # type: ignore[no-any-return]

    def attend_by(self, backend: Backend) -> None:
        """Let all layers compute attention so; with a back end for inference, no gradients pass."""
        for each in self.layers:
            each.attend = backend  # type: ignore[assignment]

    def operate_by(self, operations: Operations | None) -> None:
        """Let embeddings and layers compute sums and norms so; with None by what is chosen."""
        for each in (self.embeddings, *self.layers):
            each.operations = operations

    def attention(self, batch: PackedBatch, layer: int = -1) -> list[Tensor]:
        """Attention weights of layer 1 … n_layers (or -n_layers … -1): (H, L, L) float32 a cell."""
        index = self.spec.hidden_state_index(layer)
        if index == 0:
            raise SettingsError(
                f"Attention of layer {layer} was asked for, the embedding layer.",
                f"A layer from 1 to {self.spec.n_layers}, or from -{self.spec.n_layers} to -1.",
                "Choose one of these as emb_layer; -1 is the last.",
            )
        hidden_TD = self(batch, index - 1)
        query_THK, key_THK, _ = self.layers[index - 1].project(hidden_TD)  # type: ignore[operator]
        return attention_weights(query_THK, key_THK, batch.offsets)

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.spec.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx].detach())


class MaskedLanguageModel(nn.Module):
    """The encoder with BERT's head, which scores every token of the vocabulary at each place."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        spec = encoder.spec
        self.encoder = encoder
        self.transform = nn.Linear(spec.d_model, spec.d_model)
        self.norm = nn.LayerNorm(spec.d_model, eps=spec.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(spec.vocab_size))
        self.activation = getattr(functional, spec.activation)
        encoder._initialize(self.transform)

    def forward(self, batch: PackedBatch, places_M: Tensor | None = None) -> Tensor:
        """Logits over the vocabulary, (M, V): at `places_M` (indices into T), or at all places."""
        hidden_TD = self.encoder(batch)
        return self.score(hidden_TD if places_M is None else hidden_TD[places_M])

    def score(self, hidden_MD: Tensor) -> Tensor:
        """Logits over the vocabulary, (M, V), of the encoder's last hidden states.

        They are products with the token embeddings, which the head shares.
        """
        hidden_MD = self.norm(self.activation(self.transform(hidden_MD)))
        return functional.linear(hidden_MD, self.encoder.embeddings.token.weight, self.bias)
