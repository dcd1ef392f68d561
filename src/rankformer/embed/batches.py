"""What was computed of a batch of cells, on its way from the device: read when it is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.model.device import HostCopy
from rankformer.results.gene_embeddings import GeneVectors

CheckFinite = Callable[[NDArray[Any]], None]
"""Raises an error where a number is NaN or infinite."""


@dataclass(frozen=True, eq=False)
class _Batch:
    copy: HostCopy
    check_finite: CheckFinite

    @property
    def n_bytes(self) -> int:
        """Of the vectors."""
        return self.copy.nbytes

    def wait(self) -> None:
        """Wait until they are computed, and in the memory of the host."""
        self.copy.wait()


@dataclass(frozen=True, eq=False)
class CellBatch(_Batch):
    """Vectors of consecutive cells.

    Attributes
    ----------
    lengths
        (n_cells,) tokens of each, special tokens included.
    has_genes
        (n_cells,) whether some of them are genes.
    """

    lengths: NDArray[np.int64]
    has_genes: NDArray[np.bool_]

    def vectors(self) -> NDArray[np.float32]:
        """(n_cells, d_model) float32; NaN for a cell without a gene token.

        Raises
        ------
        CheckpointError
            If one of a cell with genes is not finite.
        """
        vectors = self.copy.numpy()
        self.check_finite(vectors[self.has_genes])
        return vectors


@dataclass(frozen=True, eq=False)
class GeneBatch(_Batch):
    """Vectors of the gene tokens of consecutive cells.

    Attributes
    ----------
    tokens
        (n_genes,) of all cells, end to end.
    offsets
        (n_cells + 1,) where those of each cell begin.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @property
    def is_empty(self) -> NDArray[np.bool_]:
        """(n_cells,) whether a cell has no gene token."""
        return np.equal(np.diff(self.offsets), 0)

    def vectors(self, start: int) -> GeneVectors:
        """The vectors, as of cells from `start` on.

        Raises
        ------
        CheckpointError
            If one is not finite.
        """
        vectors = self.copy.numpy()
        self.check_finite(vectors)
        return GeneVectors(start, self.offsets, self.tokens, vectors)
