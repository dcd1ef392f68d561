"""What else rankformer-mini may learn, for the ablations: one term each beside masked genes.

Shapes: C views (two of each of n cells, first all cells, then all again), D hidden, V vocabulary.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rankformer.ragged import Ragged


class ProfileDecoder(nn.Module):
    """Which genes the whole cell has, decoded from the vector of each view."""

    def __init__(self, d_model: int, vocab_size: int) -> None:
        super().__init__()
        self.decode = nn.Linear(d_model, vocab_size)

    def forward(self, views_CD: Tensor, cells: Ragged) -> Tensor:
        """Cross-entropy, in nats a gene found, so that it counts about as much as masked genes.

        Parameters
        ----------
        cells
            Tokens of the n whole cells.
        """
        values, offsets = cells
        found_CV = torch.zeros(len(offsets) - 1, self.decode.out_features)
        of_cell = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        found_CV[torch.from_numpy(of_cell), torch.from_numpy(values.astype(np.int64))] = 1
        found_CV = found_CV.repeat(2, 1)
        logits_CV = self.decode(views_CD)
        whole = functional.binary_cross_entropy_with_logits(logits_CV, found_CV, reduction="sum")
        return whole / found_CV.sum()


class UnlearnedFiles(nn.Module):
    """Which file a cell is of, learned by a classifier and unlearned by the model.

    The gradient turns its sign on the way to the model (Ganin et al., JMLR 17, 2016).
    """

    def __init__(self, d_model: int, n_files: int) -> None:
        super().__init__()
        self.classify = nn.Linear(d_model, n_files)

    def forward(self, views_CD: Tensor, files: NDArray[np.int64]) -> Tensor:
        """Cross-entropy, in nats, of the (n,) numbers of the cells' files."""
        turned_CD = 2 * views_CD.detach() - views_CD
        of_views = torch.from_numpy(np.concatenate([files, files]))
        return functional.cross_entropy(self.classify(turned_CD), of_views)
