"""One vector a cell out of its tokens' vectors, on the device, without a loop over cells.

Shapes: T packed tokens, C cells, D hidden.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankformer.model.cuda.chosen_operations import operations_for
from rankformer.model.device import move_to


@dataclass(frozen=True, eq=False)
class GenePlaces:
    """Where the gene tokens of packed cells are.

    Attributes
    ----------
    places
        (n_genes,) int64, indices of packed tokens: all but ``<cls>`` and ``<eos>``.
    offsets
        (n_cells + 1,) int64: cell c has ``places[offsets[c]]`` … ``places[offsets[c + 1] - 1]``.
    """

    places: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def of_cells(cls, offsets: NDArray[np.int64], n_before: int, n_behind: int) -> "GenePlaces":
        """Leave out the first `n_before` and the last `n_behind` tokens of each cell."""
        lengths = np.diff(offsets)
        place = np.arange(offsets[-1])
        within = place - np.repeat(offsets[:-1], lengths)
        is_gene = (within >= n_before) & (within < np.repeat(lengths, lengths) - n_behind)
        n_genes = np.maximum(lengths - n_before - n_behind, 0)
        return cls(place[is_gene], np.concatenate([[0], np.cumsum(n_genes)]))


def cls_of_cells(hidden_TD: Tensor, offsets: NDArray[np.int64], genes: GenePlaces) -> Tensor:
    """(C, D) float32: the vector of each cell's first token; NaN for a cell without a gene."""
    has_genes = np.diff(genes.offsets) > 0
    cells, firsts = (
        move_to(torch.from_numpy(each), hidden_TD.device)
        for each in (np.flatnonzero(has_genes), offsets[:-1][has_genes])
    )
    vectors_CD = hidden_TD.new_full((len(has_genes), hidden_TD.shape[1]), torch.nan).float()
    return vectors_CD.index_copy_(0, cells, hidden_TD[firsts].float())


def mean_of_genes(hidden_TD: Tensor, genes: GenePlaces) -> Tensor:
    """(C, D) float32: the mean over each cell's gene tokens; NaN for a cell without any."""
    if hidden_TD.device.type == "mps":
        hidden_TD = hidden_TD.cpu()  # Not every torch has this sum on MPS.
    return operations_for(hidden_TD).mean_of_places(hidden_TD, genes.places, genes.offsets)


def mean_by_cell(hidden_TD: Tensor, tokens_T: Tensor, offsets: Tensor, special: Tensor) -> Tensor:
    """As `mean_of_genes`, for training: differentiable, and zeros for a cell without genes.

    Parameters
    ----------
    hidden_TD
        Hidden states of packed tokens.
    tokens_T
        The tokens, perhaps with filler behind them.
    offsets
        (C + 1,) int64 where each cell begins, on the same device.
    special
        Tokens that are no genes.

    Returns
    -------
    (C, D) float32.
    """
    n_cells, n_tokens = len(offsets) - 1, len(hidden_TD)
    cell_T = torch.repeat_interleave(offsets.diff(), output_size=n_tokens)
    is_gene_T1 = ~torch.isin(tokens_T[:n_tokens], special).unsqueeze(1)
    sums_CD = hidden_TD.new_zeros(n_cells, hidden_TD.shape[1], dtype=torch.float32)
    sums_CD = sums_CD.index_add(0, cell_T, (hidden_TD * is_gene_T1).float())
    sizes_C1 = sums_CD.new_zeros(n_cells, 1).index_add(0, cell_T, is_gene_T1.float())
    return sums_CD / sizes_C1.clamp(min=1)
