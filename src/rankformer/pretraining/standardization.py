"""Take what all cells have in common out of the vectors that a model gives, and scale the rest."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankformer.model.encoder import MaskedLanguageModel, PackedBatch
from rankformer.model.pooling import mean_by_cell
from rankformer.pretraining.parts import PartsOfWidth
from rankformer.training.cells import CountedCells, TokenCells

_MOST_CELLS = 1_000
_CELLS_AT_ONCE = 8
# How much of a cell's vector, by its squares, may tell of places and medians.
_SHARE_BESIDE = 0.01


@torch.no_grad()
def standardize_cells(
    model: MaskedLanguageModel,
    cells: CountedCells | TokenCells,
    rows: NDArray[np.int64],
    seed: int,
    parts: PartsOfWidth | None = None,
) -> None:
    """Shift and scale the last layer so that these cells have the mean 0 and usual lengths.

    Most of a cell's vector is alike in all cells, so that cosines between cells are all near 1. The
    contrastive loss takes that away before it compares, and so should who uses the vectors. What is
    left may be short; it is scaled to the length of a vector that a layer norm gives, the square
    root of its width, as heads for fine-tuning expect. Shift and scale are those of the last norm.
    The masked-LM head takes both back, so that its scores of genes stay as they were; distances
    between cells change by one factor.

    Parameters
    ----------
    model
        Changed in place: its last layer and its head.
    cells, rows
        The cells to look at: at most 1,000 of these rows, drawn at random.
    seed
        Decides which.
    parts
        Of a model whose width has parts: dimensions that do not tell of the cell are scaled down,
        until a hundredth of the squares is theirs.
    """
    was_training = model.training
    model.eval()
    drawn = np.sort(np.random.default_rng(seed).permutation(rows)[:_MOST_CELLS])
    vectors_CD = _vectors_of_cells(model, cells, drawn)
    model.train(was_training)
    mean_D = vectors_CD.mean(dim=0)
    squares_D = (vectors_CD - mean_D).square().mean(dim=0)
    if not squares_D.sum() > 0:
        return
    scale_D = _scale_of_dimensions(squares_D, parts).to(model.transform.weight)
    norm = model.encoder.layers[-1].ffn_norm
    weight_D: Tensor = norm.weight  # type: ignore[union-attr,assignment]
    bias_D: Tensor = norm.bias  # type: ignore[union-attr,assignment]
    before_D = bias_D.clone()
    weight_D.mul_(scale_D)
    # As bfloat16 rounds it: otherwise a model in bfloat16 would shift all cells by something else.
    bias_D.copy_((scale_D * (before_D - mean_D)).bfloat16())
    model.transform.weight.div_(scale_D)
    model.transform.bias.add_(model.transform.weight @ (scale_D * before_D - bias_D))


def _scale_of_dimensions(squares_D: Tensor, parts: PartsOfWidth | None) -> Tensor:
    """(D,) factors: all alike, or those beside the cell's such that they take their share.

    A part whose dimensions do not vary is not scaled.
    """
    scale_D = torch.ones_like(squares_D)
    if parts is None:
        _fill_scale(scale_D, squares_D, float(len(squares_D)))
    else:
        beside = _SHARE_BESIDE * len(squares_D)
        _fill_scale(scale_D[parts.cell], squares_D[parts.cell], len(squares_D) - beside)
        _fill_scale(scale_D[parts.beside], squares_D[parts.beside], beside)
    return scale_D


def _fill_scale(scale: Tensor, squares: Tensor, wanted: float) -> None:
    """Set the factor that makes these mean squares add up to what is wanted."""
    if squares.sum() > 0:
        scale.fill_(float((wanted / squares.sum()).sqrt()))


def _vectors_of_cells(
    model: MaskedLanguageModel, cells: CountedCells | TokenCells, rows: NDArray[np.int64]
) -> Tensor:
    """(C, D) means over genes of the cells that have some."""
    device = next(model.parameters()).device
    special = torch.tensor(list(cells.vocabulary.special_tokens.values()), device=device)
    parts = []
    for start in range(0, len(rows), _CELLS_AT_ONCE):
        ragged = cells.take(rows[start : start + _CELLS_AT_ONCE])
        batch = PackedBatch.pack(ragged, 0, len(ragged[1]) - 1, device)
        vectors_CD = mean_by_cell(
            model.encoder(batch), batch.tokens_T, batch.offsets_on_device, special
        )
        parts.append(vectors_CD[vectors_CD.any(dim=1)])
    return torch.cat(parts)
