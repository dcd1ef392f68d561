"""What an encoder computes beside its matrix products and attention, written plainly.

This is the definition. On CUDA devices `rankformer.model.cuda` computes the same in fewer passes
over memory.

Shapes: T tokens, D hidden, F feed-forward, G gene tokens, R runs of gene tokens, C cells.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import embedding_bag

from rankformer.model.device import move_to
from rankformer.model.dropout import drop as drop_on_cpu

# In place where it can be: fresh memory costs more than the arithmetic.
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": partial(functional.relu, inplace=True),
    "gelu": functional.gelu,
}
# Sums of so many in float32, which keeps seven digits of them, then sums of these in float64: all
# tokens in float64 would take as much memory as a layer.
_RUN_LENGTH = 8


class EmbeddingParts(Protocol):
    """Tables of vectors, and the norm of their sum."""

    token: nn.Embedding
    position: nn.Embedding
    token_type: nn.Embedding
    norm: nn.LayerNorm


@dataclass(frozen=True, eq=False)
class Operations:
    """One way to compute what stands between an encoder's products.

    Attributes
    ----------
    name
        For the log.
    embed
        (T, D) of the tables and norm of an embedding layer, and int64 tokens (T,) and positions
        (T,): token + position + type 0, normalised.
    add_norm
        (T, D) of what a part of a layer gives, (T, D), its input, (T, D), a layer norm, and a
        share: of the first so many numbers are dropped at random, and it gives the norm of the
        sum. The first may be overwritten.
    expand
        (T, F) of a linear layer, its input (T, D), and the name of an activation.
    mean_of_places
        (C, D) float32 of hidden states (T, D), places (G,), and offsets (C + 1,) among these: the
        mean of the hidden states at each cell's places; NaN for a cell without any.
    """

    name: str
    embed: Callable[[EmbeddingParts, Tensor, Tensor], Tensor]
    add_norm: Callable[[Tensor, Tensor, nn.Module, float], Tensor]
    expand: Callable[[nn.Module, Tensor, str], Tensor]
    mean_of_places: Callable[[Tensor, NDArray[np.int64], NDArray[np.int64]], Tensor]


def embed(parts: EmbeddingParts, tokens_T: Tensor, positions_T: Tensor) -> Tensor:
    """See `Operations`."""
    hidden_TD = parts.token(tokens_T) + parts.token_type.weight[0]
    hidden_TD = hidden_TD + parts.position(positions_T)
    return parts.norm(hidden_TD)  # type: ignore[no-any-return]


def add_norm(update_TD: Tensor, hidden_TD: Tensor, norm: nn.Module, dropout: float) -> Tensor:
    """See `Operations`."""
    # In place, as fresh memory costs more than the sum.
    return norm(drop(update_TD, dropout).add_(hidden_TD))  # type: ignore[no-any-return]


def drop(hidden_TD: Tensor, share: float) -> Tensor:
    """Set numbers to zero with the chance `share`, perhaps in place, and scale up the others."""
    if not share:
        return hidden_TD
    if hidden_TD.device.type == "cpu":
        return drop_on_cpu(hidden_TD, share)
    return functional.dropout(hidden_TD, share)


def expand(linear: nn.Module, hidden_TD: Tensor, activation: str) -> Tensor:
    """See `Operations`."""
    return _ACTIVATIONS[activation](linear(hidden_TD))


def mean_of_places(
    hidden_TD: Tensor, places: NDArray[np.int64], offsets: NDArray[np.int64]
) -> Tensor:
    """See `Operations`."""
    n_genes = np.diff(offsets)
    n_runs = -(-n_genes // _RUN_LENGTH)
    cell_of_run = np.repeat(np.arange(len(n_runs)), n_runs)
    run_offsets = np.concatenate([[0], np.cumsum(n_runs)])
    run_within = np.arange(run_offsets[-1]) - run_offsets[cell_of_run]
    starts = offsets[cell_of_run] + run_within * _RUN_LENGTH
    sums_RD = _sum_rows(hidden_TD.float(), places, np.append(starts, len(places)))
    sums_CD = _sum_rows(sums_RD.double(), np.arange(len(starts)), run_offsets)
    n_genes_C = move_to(torch.from_numpy(n_genes).double(), hidden_TD.device)
    return (sums_CD / n_genes_C.unsqueeze(1)).float()


def _sum_rows(rows: Tensor, places: NDArray[np.int64], offsets: NDArray[np.int64]) -> Tensor:
    """Sum the rows at ``places[offsets[i]]`` … ``places[offsets[i + 1] - 1]``, in their order."""
    places_G, offsets_R = (
        move_to(torch.from_numpy(each), rows.device) for each in (places, offsets)
    )
    return embedding_bag(places_G, rows, offsets_R, mode="sum", include_last_offset=True)


PLAIN = Operations("torch's own operations", embed, add_norm, expand, mean_of_places)
