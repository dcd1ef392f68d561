"""The order in which cells are trained on: shuffled well, read in blocks.

Reading cells one by one from all over a compressed file is slow, and reading them in the file's
order trains on one donor after the other. Between the two, blocks of consecutive cells are drawn
at random, and the cells of many blocks are mixed (as scDataset and annbatch do).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK_CELLS = 64
BLOCKS_MIXED = 64


def shuffle_in_blocks(
    rows: NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    block_cells: int = BLOCK_CELLS,
    blocks_mixed: int = BLOCKS_MIXED,
) -> Iterator[NDArray[np.int64]]:
    """Put rows into a random order, some blocks at a time.

    Parameters
    ----------
    rows
        (n,) ascending: the cells to train on. Row r is in block ``r // block_cells``.
    seed, epoch
        Decide the order, the same on every machine.
    block_cells
        Consecutive cells that are read together.
    blocks_mixed
        Blocks whose cells are mixed; the memory that a reader needs grows with it.

    Yields
    ------
    (k,) int64 rows of `blocks_mixed` blocks, mixed. Each row comes once.
    """
    rng = np.random.default_rng((seed, epoch))
    cuts = np.flatnonzero(np.diff(rows // block_cells)) + 1
    blocks = np.split(rows, cuts)
    order = rng.permutation(len(blocks))
    for first in range(0, len(order), blocks_mixed):
        mixed = np.concatenate([blocks[block] for block in order[first : first + blocks_mixed]])
        yield rng.permutation(mixed)
