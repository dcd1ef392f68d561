"""Batches for fine-tuning: cells with their labels, or cells with labels on their genes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rankformer.model.encoder import PackedBatch
from rankformer.training.cells import CountedCells, TokenCells
from rankformer.training.inputs import Inputs


@dataclass(frozen=True, eq=False)
class LabelledBatches:
    """Makes batches of draws, as inputs of `FineTuningLoss`.

    Attributes
    ----------
    cells
        What the draws stand for.
    truth
        (n_heads, n_cells) float32: labels of cells. Or, where genes are labelled, (1, vocabulary
        size): labels of tokens. NaN where there is none.
    of_genes
        Whether genes are labelled.
    """

    cells: CountedCells | TokenCells
    truth: NDArray[np.float32]
    of_genes: bool = False

    def __call__(self, draws: Sequence[int] | NDArray[np.int64]) -> Inputs:
        rows = np.asarray(draws, np.int64) % len(self.cells)
        values, offsets = self.cells.take(rows)
        batch = PackedBatch.pack((values, offsets), 0, len(rows))
        places = self._labelled_places(values)
        truth = self.truth[:, values[places]] if self.of_genes else self.truth[:, rows]
        if not self.of_genes:
            # Of a cell without genes there is nothing to learn from.
            n_genes = np.diff(offsets) - self.cells.vocabulary.n_frame_tokens
            truth = np.where(n_genes > 0, truth, np.float32(np.nan))
        return {
            "tokens": batch.tokens_T,
            "positions": batch.positions_T,
            "offsets": offsets.astype(np.int64),
            "places": torch.from_numpy(places),
            "truth": torch.from_numpy(truth),
        }

    def _labelled_places(self, tokens: NDArray[np.int32]) -> NDArray[np.int64]:
        if not self.of_genes:
            return np.empty(0, np.int64)
        return np.flatnonzero(~np.isnan(self.truth[0, tokens]))
