"""How a cell's embedding answers to small changes of its tokens: one forward pass, a few backward.

What is asked is the derivative of the embedding along a few directions v, with respect to

- the *presence* of each token: with a_j the presence of token j, attention is
  Σ_j a_j exp(s_j) value_j / Σ_j a_j exp(s_j), the same a_j in all layers and heads. All a_j are 1;
  a deleted token has a_j = 0;
- the *place* of each token: the embedding of its position, moved up or down by one.

A gene that stands elsewhere rides along: as a token of presence nearly 0, which attends to all
others and is hardly attended to, at the place that it would go to.

Shapes: K directions, L tokens of the cell, R riders, D hidden, H heads.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from rankformer.model.encoder import Encoder
from rankformer.model.segments import Segments

# So little that two thousand riders take some thousandths of the attention.
_RIDERS_PRESENCE = 1e-6
# Attention is computed fastest with head sizes that this divides.
_HEAD_SIZES = 8


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Derivatives of one cell's embedding.

    Attributes
    ----------
    vector
        (D,) float64: the embedding.
    presence
        (K, L) float64: by the presence of each token, from 1.
    place
        (K, L): by the place of each token, as it moves by one.
    hidden
        (K, L): each token's own vector along the directions.
    rider_presence, rider_hidden
        (K, R): the same of riders, whose presence is from 0.
    """

    vector: NDArray[np.float64]
    presence: NDArray[np.float64]
    place: NDArray[np.float64]
    hidden: NDArray[np.float64]
    rider_presence: NDArray[np.float64]
    rider_hidden: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Riders:
    """Genes that stand elsewhere, or not in the cell.

    Attributes
    ----------
    tokens
        (R,) int: which genes.
    places
        (R,) int: where they would go to.
    """

    tokens: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def none(cls) -> "Riders":
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))


def differentiate(  # noqa: PLR0913  # what is differentiated, of what, and where
    encoder: Encoder,
    layer: int,
    tokens: NDArray[np.int32],
    directions: NDArray[np.float64],
    *,
    genes: slice | None,
    step: int,
    first_moved: int = 0,
    is_moved: bool = False,
    riders: Riders | None = None,
) -> Sensitivity:
    """Differentiate the embedding of one cell.

    Parameters
    ----------
    encoder
        With weights in float32.
    layer
        Index of the hidden state that is taken.
    tokens
        (L,) of the cell, with special tokens.
    directions
        (K, D) along which the embedding is looked at.
    genes
        Places of the genes, whose mean is the embedding; None takes the first token, ``<cls>``.
    step
        -1: the derivative by place is for a move up by one; +1: down by one.
    first_moved
        The first place that can move so.
    is_moved
        Differentiate where all tokens from `first_moved` on were moved so.
    riders
        See `Riders`.
    """
    riders = riders or Riders.none()
    device = encoder.embeddings.token.weight.device
    own = torch.from_numpy(tokens.astype(np.int64))
    places = torch.arange(len(tokens))
    last = encoder.spec.max_positions - 1
    moved = places.clone()
    moved[first_moved:] = (places[first_moved:] + step).clamp(0, last)
    here, there = (moved, places) if is_moved else (places, moved)
    all_tokens = torch.cat([own, torch.from_numpy(riders.tokens)]).to(device)
    all_places = torch.cat([here, torch.from_numpy(riders.places)]).to(device)
    with torch.enable_grad():
        position = encoder.embeddings.position.weight.detach()
        summed_LD = encoder.embeddings.token.weight.detach()[all_tokens] + position[all_places]
        summed_LD = (summed_LD + encoder.embeddings.token_type.weight.detach()[0]).requires_grad_()
        presence_L = torch.zeros(len(all_tokens), device=device)
        presence_L[len(tokens) :] = math.log(_RIDERS_PRESENCE)
        presence_L.requires_grad_()
        hidden_LD = encoder.embeddings.norm(summed_LD)
        segments = Segments.between((0, len(all_tokens)), device)
        attend = partial(_attend, presence_L=presence_L)
        for each in encoder.layers[:layer]:
            hidden_LD = each(hidden_LD, segments, attend)
        vector_D = hidden_LD[0] if genes is None else hidden_LD[genes].mean(dim=0)
        directions_KD = torch.from_numpy(directions.astype(np.float32)).to(device)
        along_K = directions_KD @ vector_D
        gradients = [
            torch.autograd.grad(each, (presence_L, summed_LD), retain_graph=True)
            for each in along_K
        ]
    by_presence = torch.stack([each for each, _ in gradients])
    way_LD = (position[there.to(device)] - position[here.to(device)]) * (-1 if is_moved else 1)
    by_place = torch.stack([(each[: len(tokens)] * way_LD).sum(dim=1) for _, each in gradients])
    along_KL = directions_KD @ hidden_LD.detach().T
    n_own = len(tokens)
    return Sensitivity(
        vector=_exact(vector_D.detach()),
        presence=_exact(by_presence[:, :n_own]),
        place=_exact(by_place),
        hidden=_exact(along_KL[:, :n_own]),
        rider_presence=_exact(by_presence[:, n_own:]) / _RIDERS_PRESENCE,
        rider_hidden=_exact(along_KL[:, n_own:]),
    )


def _exact(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.cpu().numpy().astype(np.float64)


def _attend(
    query_LHK: Tensor,
    key_LHK: Tensor,
    value_LHK: Tensor,
    segments: Segments,  # noqa: ARG001  # there is one cell
    dropout: float,  # noqa: ARG001  # it is not in training
    *,
    presence_L: Tensor,
) -> Tensor:
    """Attention with the log of each token's presence added to its scores.

    It is one more number of each key, which a query multiplies by one: so no matrix of all scores
    is kept.
    """
    head_size = query_LHK.shape[-1]
    n_more = _HEAD_SIZES - head_size % _HEAD_SIZES
    scale = head_size**-0.5
    query = pad(query_LHK, (0, n_more))
    query[..., head_size] = 1
    key = torch.cat(
        [
            key_LHK,
            (presence_L / scale)[:, None, None].expand(*key_LHK.shape[:2], 1),
            key_LHK.new_zeros(*key_LHK.shape[:2], n_more - 1),
        ],
        dim=-1,
    )
    value = pad(value_LHK, (0, n_more))
    query, key, value = (each.transpose(0, 1).unsqueeze(0) for each in (query, key, value))
    mixed = scaled_dot_product_attention(query, key, value, scale=scale)
    return mixed[0, ..., :head_size].transpose(0, 1)
