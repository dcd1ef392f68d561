"""Outputs of heads for cells and genes, through the path that embeds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rankformer.checkpoints.finetuned import apply_head
from rankformer.embed.embedder import Embedder
from rankformer.model.heads import Head
from rankformer.ragged import Ragged
from rankformer.training.metrics import softmax

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
    mode: Literal["cell", "cls"],
) -> list[NDArray[np.float32]]:
    """Outputs of each head for all cells of all blocks: (n_cells, n_outputs), NaN without genes."""
    none = np.empty((0, embedder.d_model), np.float32)
    parts = [[apply_head(module, none) for module in modules]]
    for ragged in blocks:
        vectors = embedder.cells(ragged, mode)
        parts.append([apply_head(module, vectors) for module in modules])
    return [np.concatenate(own) for own in zip(*parts, strict=True)]


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


@dataclass(frozen=True, eq=False)
class NamedOutputs:
    """Outputs of a head of classes, read.

    Attributes
    ----------
    names
        (n,) object: the most probable class, or None where there is no output.
    probability
        (n,) float32 of that class, NaN where there is none.
    probabilities
        (n, n_classes) float32.
    """

    names: NDArray[np.object_]
    probability: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @classmethod
    def of(cls, head: Head, output: NDArray[np.floating]) -> "NamedOutputs":
        """Read (n, n_outputs) with the head's temperature."""
        probabilities = softmax(output, head.temperature).astype(np.float32)
        best = np.nan_to_num(probabilities, nan=-1.0).argmax(axis=1)
        names = np.array(head.classes, dtype=object)[best]
        names[np.isnan(probabilities[:, 0])] = None
        return cls(names, probabilities[np.arange(len(best)), best], probabilities)


def scale_numbers(head: Head, output: NDArray[np.floating]) -> NDArray[np.float32]:
    """(n,) float32 numbers in their own units, of (n, 1) outputs."""
    return (head.mean + head.scale * output[:, 0].astype(np.float64)).astype(np.float32)
