"""Take what all cells have in common out of the vectors that a model gives."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankformer.model.encoder import MaskedLanguageModel, PackedBatch
from rankformer.model.pooling import mean_by_cell
from rankformer.training.cells import CountedCells, TokenCells

_MOST_CELLS = 1_000
_CELLS_AT_ONCE = 8


@torch.no_grad()
def centre_cells(
    model: MaskedLanguageModel,
    cells: CountedCells | TokenCells,
    rows: NDArray[np.int64],
    seed: int,
) -> None:
    """Shift the vectors of the last layer so that the mean of these cells is 0, in place.

    Most of a cell's vector is alike in all cells, so that cosines between cells are all near 1. The
    contrastive loss takes that away before it compares, and so should who uses the vectors. The
    shift is in the bias of the last norm; the masked-LM head takes it back, so that its scores of
    genes stay as they were. Distances between cells stay too.

    Parameters
    ----------
    model
        Whose last layer and head are changed.
    cells, rows
        The cells to look at: at most 1,000 of these rows, drawn at random.
    seed
        Decides which.
    """
    was_training = model.training
    model.eval()
    drawn = np.sort(np.random.default_rng(seed).permutation(rows)[:_MOST_CELLS])
    mean_D = _mean_cell(model, cells, drawn)
    bias_D: Tensor = model.encoder.layers[-1].ffn_norm.bias  # type: ignore[union-attr,assignment]
    before_D = bias_D.clone()
    # As bfloat16 rounds it: otherwise a model in bfloat16 would shift all cells by something else.
    bias_D.copy_((before_D - mean_D).bfloat16())
    model.transform.bias += model.transform.weight @ (before_D - bias_D)
    model.train(was_training)


def _mean_cell(
    model: MaskedLanguageModel, cells: CountedCells | TokenCells, rows: NDArray[np.int64]
) -> Tensor:
    """(D,) the mean of the vectors of the cells that have genes."""
    parameter = next(model.parameters())
    special = torch.tensor(list(cells.vocabulary.special_tokens.values()), device=parameter.device)
    sums_D = torch.zeros_like(model.norm.bias)
    n_cells = 0
    for start in range(0, len(rows), _CELLS_AT_ONCE):
        ragged = cells.take(rows[start : start + _CELLS_AT_ONCE])
        batch = PackedBatch.pack(ragged, 0, len(ragged[1]) - 1, parameter.device)
        vectors_CD = mean_by_cell(
            model.encoder(batch), batch.tokens_T, batch.offsets_on_device, special
        )
        sums_D += vectors_CD.sum(dim=0)
        n_cells += int(vectors_CD.any(dim=1).sum())
    return sums_D / max(n_cells, 1)
