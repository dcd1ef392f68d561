"""Batches for pretraining: cells with masked genes, and views of cells.

All of it follows from the seed, the epoch and the cell, so that a run that was killed goes on with
the very batches that it would have had.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rankformer.model.encoder import PackedBatch
from rankformer.ragged import Ragged, join_ragged
from rankformer.tokens.masking import mask_genes
from rankformer.tokens.thinning import crop_genes
from rankformer.training.cells import CountedCells, TokenCells
from rankformer.training.inputs import Inputs


@dataclass(frozen=True)
class MaskedBatches:
    """Makes batches of draws, as inputs of `PretrainingLoss`.

    Attributes
    ----------
    cells
        What the draws stand for.
    seed
        Of masks and views.
    two_views
        Give each cell twice, as two parts of its molecules: first all cells, then all again.
    thinnest_view
        The least share of a cell's molecules that one of its two parts gets.
    shortest_view
        Crop the views of each batch to a number of genes that is drawn anew, from this one to all
        that the model takes; by their logarithms, so that few batches are long. None crops none.
    masked_share
        Chance of each gene to be masked.
    """

    cells: CountedCells | TokenCells
    seed: int
    masked_share: float
    two_views: bool = False
    thinnest_view: float = 0.5
    shortest_view: int | None = None

    def __call__(self, draws: Sequence[int] | NDArray[np.int64]) -> Inputs:
        epochs, rows = np.divmod(np.asarray(draws, np.int64), len(self.cells))
        # The first draw names the batch: a cell comes once an epoch.
        rng = np.random.default_rng((self.seed, int(epochs[0]), int(rows[0])))
        return self.mask(self._views(rows, rng), rng)

    def mask(self, ragged: Ragged, rng: np.random.Generator) -> Inputs:
        """Mask genes of cells and pack them."""
        values, offsets = ragged
        masked = mask_genes(values, self.cells.vocabulary, rng, self.masked_share)
        batch = PackedBatch.pack((masked.tokens, offsets), 0, len(offsets) - 1)
        return {
            "tokens": batch.tokens_T,
            "positions": batch.positions_T,
            "offsets": offsets.astype(np.int64),
            "places": torch.from_numpy(masked.places),
            "genes": torch.from_numpy(masked.genes.astype(np.int64)),
        }

    def _views(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Ragged:
        if not self.two_views:
            return self.cells.take(rows)
        shares = rng.uniform(self.thinnest_view, 1 - self.thinnest_view, len(rows))
        views = join_ragged(self.cells.split(rows, shares, rng))
        if self.shortest_view is None:
            return views
        limits = np.log([self.shortest_view, self.cells.vocabulary.input_length])
        return crop_genes(views, int(np.exp(rng.uniform(*limits))), self.cells.vocabulary)
