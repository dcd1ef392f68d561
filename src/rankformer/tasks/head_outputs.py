"""Outputs of heads for cells and genes, through the path that embeds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rankformer.model.embedder import Embedder
from rankformer.model.finetuned import apply_head
from rankformer.ragged import Ragged

_CELLS_AT_ONCE = 1024


def in_blocks(
    take: Callable[[NDArray[np.int64]], Ragged], rows: NDArray[np.int64]
) -> Iterator[Ragged]:
    """The cells at `rows`, some at a time."""
    for start in range(0, len(rows), _CELLS_AT_ONCE):
        yield take(rows[start : start + _CELLS_AT_ONCE])


def cell_outputs(
    embedder: Embedder,
    modules: Sequence[nn.Module],
    blocks: Iterable[Ragged],
    pooling: Literal["cell", "cls"],
) -> list[NDArray[np.float32]]:
    """Outputs of each head for all cells of all blocks: (n_cells, n_outputs), NaN without genes."""
    vectors = [embedder.cells(ragged, pooling) for ragged in blocks]
    joined = np.concatenate(vectors) if vectors else np.empty((0, embedder.d_model), np.float32)
    return [apply_head(module, joined) for module in modules]


def gene_outputs(
    embedder: Embedder,
    module: nn.Module,
    blocks: Iterable[Ragged],
    n_outputs: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean outputs of a head for each gene, over the cells that have it.

    Returns
    -------
    (vocabulary size, n_outputs) float64, NaN for genes of no cell, and (vocabulary size,) the
    number of cells.
    """
    size = embedder.checkpoint.vocabulary.size
    sums, n_cells = np.zeros((size, n_outputs)), np.zeros(size, np.int64)
    for ragged in blocks:
        for genes in embedder.genes(ragged):
            np.add.at(sums, genes.tokens, apply_head(module, genes.vectors))
            n_cells += np.bincount(genes.tokens, minlength=size)
    with np.errstate(invalid="ignore"):
        return sums / n_cells[:, None], n_cells
