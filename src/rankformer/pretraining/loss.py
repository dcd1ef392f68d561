"""What pretraining minimises: masked genes and, as an option, how unlike views of one cell are.

Shapes: T packed tokens, C cells, M masked genes, D hidden, V vocabulary.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rankformer.model.encoder import MaskedLanguageModel, PackedBatch
from rankformer.model.pooling import mean_by_cell
from rankformer.pretraining.parts import PartsOfWidth

TEMPERATURE = 0.1


class PretrainingLoss(nn.Module):
    """A model with its losses, as `transformers.Trainer` trains it.

    Parameters
    ----------
    model
        The model to train, in place.
    special_tokens
        Tokens that are no genes: they are left out where a cell is the mean of its genes.
    contrast_weight
        Weight of the contrastive term; 0 leaves the published loss as it is. Batches are then
        two views of each cell: the cells, and again in the same order (Chen et al., ICML 2020).
    parts
        Of a model whose width has parts: the contrastive term compares the dimensions of the cell,
        and training keeps them apart.
    """

    def __init__(
        self,
        model: MaskedLanguageModel,
        special_tokens: list[int],
        contrast_weight: float = 0.0,
        parts: PartsOfWidth | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.contrast_weight = contrast_weight
        self.parts = parts
        self.special: Tensor
        self.register_buffer("special", torch.tensor(special_tokens), persistent=False)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        offsets: NDArray[np.int64],
        places: Tensor,
        genes: Tensor,
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Parameters
        ----------
        tokens, positions
            (T,) int64 of a `PackedBatch`, some genes masked.
        offsets
            (C + 1,) where each cell begins, on the host.
        places, genes
            (M,) int64: which tokens were masked, and the genes that stood there.

        Returns
        -------
        ``loss``: in nats a masked gene, plus the weighted contrastive term.
        """
        batch = PackedBatch(tokens, positions, tuple(offsets.tolist()))
        hidden_TD = self.model.encoder(batch)
        loss = functional.cross_entropy(self.model.score(hidden_TD[places]).float(), genes)
        if self.contrast_weight:
            cells_CD = mean_by_cell(hidden_TD, tokens, batch.offsets_on_device, self.special)
            if self.parts is not None:
                cells_CD = cells_CD[:, self.parts.cell]
            loss = loss + self.contrast_weight * contrast_views(cells_CD)
        return {"loss": loss}


def contrast_views(cells_CD: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Cross-entropy, in nats, of finding each cell's other view among all others of the batch.

    What all cells of the batch have in common is taken away first: it is most of a cell's vector,
    and says nothing of which cell it is.

    Parameters
    ----------
    cells_CD
        (2n, D): a vector of one view of each of n cells, then of the other in the same order.
    temperature
        Divides the cosines.
    """
    cells_CD = functional.normalize(cells_CD - cells_CD.mean(dim=0), dim=1)
    likeness_CC = (cells_CD @ cells_CD.T / temperature).fill_diagonal_(-torch.inf)
    n_cells = len(cells_CD)
    other_C = torch.arange(n_cells, device=cells_CD.device).roll(n_cells // 2)
    return functional.cross_entropy(likeness_CC, other_C)
