"""Which operations an encoder runs with: fused ones on CUDA devices where they are right.

Shapes: T tokens, D hidden, F feed-forward, C cells.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from rankformer.model.operations import PLAIN, Operations

logger = logging.getLogger(__name__)
# Rows of the batch with which operations are compared, no multiple of any tile, and its cells.
_COMPARED_ROWS = 301
_COMPARED_LENGTHS = (1, 0, 37, 263)
_VOCABULARY = 61
# Below it a tile would be mostly empty.
_LEAST_WIDTH = 32
# A share that is dropped in the comparison; of so many numbers, chance strays less from it.
_DROPOUT, _TOLERANCE_OF_SHARE = 0.25, 0.03
# Beyond the rounding of what is stored, on numbers drawn from a standard normal distribution: share
# of the largest one of a result.
_TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 4e-2}


@dataclass(frozen=True)
class Situation:
    """Where and in what an encoder computes.

    Attributes
    ----------
    device
        Where.
    dtype, product_dtype
        Of the hidden states, and of what products give: another one within autocast.
    width
        Numbers of a hidden state.
    has_gradients
        Whether gradients may pass.
    """

    device: torch.device
    dtype: torch.dtype
    product_dtype: torch.dtype
    width: int
    has_gradients: bool

    def __str__(self) -> str:
        dtypes = dict.fromkeys([str(self.dtype)[6:], str(self.product_dtype)[6:]])
        training = ", with gradients" if self.has_gradients else ""
        return f"{self.device} in {' and '.join(dtypes)}, {self.width} wide{training}"


def operations_for(states: Tensor) -> Operations:
    """The operations for hidden states (T, D), or a table (V, D), like these: chosen at first use.

    On CUDA the fused ones, if they agree with the plain ones there; everywhere else the plain ones.
    """
    device, width = states.device, states.shape[1]
    if device.type != "cuda" or states.dtype not in _TOLERANCES or width < _LEAST_WIDTH:
        return PLAIN
    is_mixed = torch.is_autocast_enabled(device.type)
    product_dtype = torch.get_autocast_dtype(device.type) if is_mixed else states.dtype
    has_gradients = torch.is_grad_enabled()
    return choose_operations(Situation(device, states.dtype, product_dtype, width, has_gradients))


@cache
def choose_operations(situation: Situation) -> Operations:
    """The fused operations where they run and are right, else the plain ones; said in the log."""
    return pick_operations(_load_fused, situation)


def _load_fused() -> Operations:
    from rankformer.model.cuda.fused import FUSED

    return FUSED


def pick_operations(load: Callable[[], Operations], situation: Situation) -> Operations:
    """What `load` gives, if it agrees with the plain operations on a small batch.

    Parameters
    ----------
    load
        Imports what is to be tried.
    situation
        Where and in what it is tried.
    """
    try:
        fused = load()
    except ImportError as error:
        logger.warning(
            "Sums and norms on %s are computed by torch, which is slower: Triton cannot be "
            "imported (%s). It comes with torch's builds for CUDA on Linux.", situation, error,
        )  # fmt: skip
        return PLAIN
    try:
        distances = _compare(fused, situation)
    except torch.OutOfMemoryError:
        # Says nothing of the kernels: the batch is made smaller, and they are tried again.
        raise
    # What a compiler or a driver lacks shows as any kind of error.
    except Exception as error:
        logger.warning(
            "Sums and norms on %s are computed by torch, which is slower: %s do not run (%s).",
            situation, fused.name, error,
        )  # fmt: skip
        return PLAIN
    # A distance that is NaN is none below the tolerance.
    dtype = max(situation.dtype, situation.product_dtype, key=_TOLERANCES.__getitem__)
    odd = {name: each for name, each in distances.items() if not each <= _TOLERANCES[dtype]}
    if odd:
        logger.warning(
            "Sums and norms on %s are computed by torch, which is slower: %s are off by %s.",
            situation, fused.name,
            ", ".join(f"{each:.3g} in {name}" for name, each in odd.items()),
        )  # fmt: skip
        return PLAIN
    logger.info("Sums and norms on %s: %s.", situation, fused.name)
    return fused


def _compare(fused: Operations, situation: Situation) -> dict[str, float]:
    """How far fused results are from plain ones, as a share of the largest number of each."""
    found, expected = (_run(each, situation) for each in (fused, PLAIN))
    distances = {name: _distance(found[name], expected[name]) for name in expected}
    if situation.has_gradients:
        with _settled(situation):
            distances |= _compare_dropout(fused, situation)
    return distances


def _compare_dropout(fused: Operations, situation: Situation) -> dict[str, float]:
    """How far norms with dropout are from plain ones of what they kept.

    What was dropped has no gradient, which tells it.
    """
    parts = _EmbeddingParts(situation.width).to(situation.device, situation.dtype)
    given = _draw(situation.product_dtype, situation), _draw(situation.dtype, situation)
    along_TD = _draw(situation.dtype, situation, seed=1)

    def run(operations: Operations, factors_TD: Tensor | None, dropout: float) -> list[Tensor]:
        update_TD, hidden_TD = (each.clone().requires_grad_() for each in given)
        left_TD = update_TD * (1 if factors_TD is None else factors_TD)
        normed_TD = operations.add_norm(left_TD, hidden_TD, parts.norm, dropout)
        loss = (normed_TD.float() * along_TD.float()).sum()
        return [normed_TD, *torch.autograd.grad(loss, (update_TD, hidden_TD))]

    found, again = (run(fused, None, _DROPOUT) for _ in range(2))
    kept_TD = found[1] != 0
    share = 1 - float(kept_TD.double().mean())
    is_other_each_time = not torch.equal(kept_TD, again[1] != 0)
    is_right = abs(share - _DROPOUT) <= _TOLERANCE_OF_SHARE and is_other_each_time
    expected = run(PLAIN, kept_TD.to(situation.product_dtype) / (1 - _DROPOUT), 0.0)
    names = "norms with dropout", "gradients with dropout", "gradients beside dropout"
    distances = {
        name: _distance(one.detach(), other.detach())
        for name, one, other in zip(names, found, expected, strict=True)
    }
    return distances | {"what is dropped": 0.0 if is_right else float("inf")}


def _distance(found: Tensor, expected: Tensor) -> float:
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return float("inf")
    both = found.double(), expected.double()
    unlike = both[0].isnan() != both[1].isnan()
    if bool(unlike.any()):
        return float("nan")
    found, expected = (each.nan_to_num() for each in both)
    return float((found - expected).abs().max() / expected.abs().max())


class _EmbeddingParts(nn.Module):
    """Small tables."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(_VOCABULARY, width, padding_idx=0)
        self.position = nn.Embedding(_COMPARED_ROWS, width)
        self.token_type = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)


def _run(operations: Operations, situation: Situation) -> dict[str, Tensor]:
    """Results on random numbers, and gradients where they may pass; the state of torch's stays."""
    with _settled(situation):
        return _compute(operations, situation)


@contextmanager
def _settled(situation: Situation) -> Iterator[None]:
    """Gradients and autocast as in the situation, and torch's state kept."""
    device = situation.device
    # In training this may run where a layer is recomputed, whose hooks see what is saved here.
    hooks = saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
    gradients = torch.enable_grad() if situation.has_gradients else torch.no_grad()
    generators = torch.random.fork_rng([device] if device.type == "cuda" else [])
    autocast = torch.autocast(
        device.type, situation.product_dtype,
        enabled=situation.dtype != situation.product_dtype,
    )  # fmt: skip
    with torch.inference_mode(mode=False), gradients, hooks, generators, autocast:
        yield


def _draw(dtype: torch.dtype, situation: Situation, seed: int = 0) -> Tensor:
    """(T, D) from a standard normal distribution."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(_COMPARED_ROWS, situation.width, generator=generator)
    return drawn.to(situation.device, dtype)


def _compute(operations: Operations, situation: Situation) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(n_rows: int, dtype: torch.dtype = situation.dtype) -> Tensor:
        drawn = torch.randn(n_rows, situation.width, generator=generator)
        return drawn.to(situation.device, dtype)

    with torch.device("meta"):
        parts = _EmbeddingParts(situation.width)
        linear = nn.Linear(situation.width, 2 * situation.width)
    parts = parts.to_empty(device=situation.device).to(situation.dtype)
    linear = linear.to_empty(device=situation.device).to(situation.dtype)
    with torch.no_grad():
        for each in (*parts.parameters(), *linear.parameters()):
            drawn = draw(each.numel() // situation.width).view(each.shape)
            each.copy_(drawn / situation.width**0.5 if each is linear.weight else drawn)
    tokens_T = torch.arange(_COMPARED_ROWS) * 7 % _VOCABULARY
    positions_T = torch.arange(_COMPARED_ROWS).flip(0)
    embedded_TD = operations.embed(
        parts, tokens_T.to(situation.device), positions_T.to(situation.device)
    )
    results = {"embeddings": embedded_TD}
    update_TD = draw(_COMPARED_ROWS, situation.product_dtype)
    hidden_TD = draw(_COMPARED_ROWS)
    if situation.has_gradients:
        update_TD.requires_grad_()
        hidden_TD.requires_grad_()
    # The plain sum is made in place, which a leaf does not allow.
    normed_TD = operations.add_norm(update_TD.view_as(update_TD) * 1, hidden_TD, parts.norm, 0.0)
    results["norms"] = normed_TD
    expanded_TF = results["products"] = operations.expand(linear, hidden_TD, "relu")
    offsets = np.cumsum([0, *_COMPARED_LENGTHS])
    places = np.arange(_COMPARED_ROWS)[::-1].copy()
    results["means"] = operations.mean_of_places(hidden_TD.detach(), places, offsets)
    if situation.has_gradients:
        leaves = {
            "sums": update_TD, "inputs": hidden_TD, "weights of the norm": parts.norm.weight,
            "biases of the norm": parts.norm.bias, "tokens": parts.token.weight,
            "products": linear.weight, "biases of products": linear.bias,
        }  # fmt: skip
        loss = (embedded_TD.float() * draw(_COMPARED_ROWS).float()).sum()
        loss = loss + (normed_TD.float() * draw(_COMPARED_ROWS).float()).sum()
        along_TF = torch.cat([draw(_COMPARED_ROWS).float() for _ in range(2)], dim=1)
        loss = loss + (expanded_TF.float() * along_TF).sum()
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        results |= {
            f"gradients of {name}": each for name, each in zip(leaves, gradients, strict=True)
        }
    return {name: each.detach() for name, each in results.items()}
