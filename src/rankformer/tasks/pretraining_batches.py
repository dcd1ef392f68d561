"""Batches for pretraining: which cells, in which order, with which genes masked.

All of it follows from the seed, the epoch and the cell, so that a run that was killed goes on with
the very batches that it would have had.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from rankformer.data.block_shuffle import shuffle_in_blocks
from rankformer.data.masking import MASKED_SHARE, mask_genes
from rankformer.model.encoder import PackedBatch
from rankformer.ragged import Ragged, join_ragged
from rankformer.tasks.training_cells import CountedCells, TokenCells

THINNEST_VIEW = 0.3


class Draws(Sampler[int]):
    """Numbers that stand for an epoch and a cell: ``epoch * n_cells + row``.

    Parameters
    ----------
    rows
        (n,) ascending rows of the cells to train on.
    n_cells
        Cells in all.
    seed
        Of the order.
    """

    def __init__(self, rows: NDArray[np.int64], n_cells: int, seed: int) -> None:
        self.rows, self.n_cells, self.seed, self.epoch = rows, n_cells, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        for mixed in shuffle_in_blocks(self.rows, seed=self.seed, epoch=self.epoch):
            yield from (self.epoch * self.n_cells + mixed).tolist()


class Identity(Dataset[int]):
    """Gives each draw as it is; `MaskedBatches` makes cells of them, a batch at a time."""

    def __init__(self, n_cells: int) -> None:
        self.n_cells = n_cells

    def __len__(self) -> int:
        return self.n_cells

    def __getitem__(self, draw: int) -> int:
        return draw


@dataclass(frozen=True)
class MaskedBatches:
    """Makes batches of draws, as inputs of `PretrainingObjective`.

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
    masked_share
        Chance of each gene to be masked.
    """

    cells: CountedCells | TokenCells
    seed: int
    two_views: bool = False
    thinnest_view: float = THINNEST_VIEW
    masked_share: float = MASKED_SHARE

    def __call__(self, draws: Sequence[int] | NDArray[np.int64]) -> dict[str, Tensor]:
        epochs, rows = np.divmod(np.asarray(draws, np.int64), len(self.cells))
        # The first draw names the batch: a cell comes once an epoch.
        rng = np.random.default_rng((self.seed, int(epochs[0]), int(rows[0])))
        return self.mask(self._views(rows, rng), rng)

    def mask(self, ragged: Ragged, rng: np.random.Generator) -> dict[str, Tensor]:
        """Mask genes of cells and pack them."""
        values, offsets = ragged
        masked = mask_genes(values, self.cells.vocabulary, rng, self.masked_share)
        batch = PackedBatch.pack((masked.tokens, offsets), 0, len(offsets) - 1)
        return {
            "tokens": batch.tokens_T,
            "positions": batch.positions_T,
            "offsets": torch.from_numpy(offsets.astype(np.int64)),
            "places": torch.from_numpy(masked.places),
            "genes": torch.from_numpy(masked.genes.astype(np.int64)),
        }

    def _views(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Ragged:
        if not self.two_views:
            return self.cells.take(rows)
        shares = rng.uniform(self.thinnest_view, 1 - self.thinnest_view, len(rows))
        return join_ragged(self.cells.split(rows, shares, rng))
