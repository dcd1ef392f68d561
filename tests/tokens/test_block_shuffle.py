"""The order of training: each cell once an epoch, well mixed, read in blocks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rankformer.tokens.block_shuffle import shuffle_in_blocks


@given(
    rows=st.sets(st.integers(0, 2000), min_size=1).map(sorted),
    block_cells=st.integers(1, 300),
    blocks_mixed=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_each_row_comes_once_and_few_blocks_are_open(rows, block_cells, blocks_mixed, seed):
    rows = np.array(rows)
    parts = list(
        shuffle_in_blocks(
            rows, seed=seed, epoch=0, block_cells=block_cells, blocks_mixed=blocks_mixed
        )
    )
    assert np.sort(np.concatenate(parts)).tolist() == rows.tolist()
    for part in parts:
        assert len(np.unique(part // block_cells)) <= blocks_mixed


def test_seed_and_epoch_decide_the_order():
    rows = np.arange(5000)

    def order(seed, epoch):
        return np.concatenate(list(shuffle_in_blocks(rows, seed=seed, epoch=epoch)))

    assert (order(1, 0) == order(1, 0)).all()
    assert (order(1, 0) != order(1, 1)).mean() > 0.9
    assert (order(1, 0) != order(2, 0)).mean() > 0.9


def test_neighbours_of_the_file_are_far_apart():
    """Donors lie one after the other in files: batches must not hold one donor each."""
    rows = np.arange(64 * 640)
    donor = rows // (64 * 64)  # ten donors, 64 blocks each
    order = np.concatenate(list(shuffle_in_blocks(rows, seed=0, epoch=0)))
    n_donors = [len(np.unique(donor[batch])) for batch in order.reshape(-1, 32)]
    assert np.mean(n_donors) > 8
