"""Some cells from all over a source, for figures that need not be of all."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix

from rankformer.cells.source import CellSource

_BLOCKS, _BLOCK_CELLS = 8, 64


def sampled_counts(cells: CellSource) -> Iterator[csr_matrix]:
    """Counts of up to 512 cells, in blocks that do not overlap."""
    for start in _block_starts(cells.n_cells):
        for chunk in cells.chunks(_BLOCK_CELLS, start=start, stop=start + _BLOCK_CELLS):
            yield chunk.counts


def _block_starts(n_cells: int) -> list[int]:
    if n_cells <= _BLOCKS * _BLOCK_CELLS:
        return list(range(0, n_cells, _BLOCK_CELLS))
    return [int(start) for start in np.linspace(0, n_cells - _BLOCK_CELLS, _BLOCKS)]
