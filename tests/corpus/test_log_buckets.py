"""Buckets of expression: their ends and values are as far apart as the relative error says."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from rankformer.corpus.log_buckets import (
    LEAST_VALUE,
    NO_GENE,
    NO_ROW,
    RELATIVE_ERROR,
    TARGET_SUM,
    bucket_ends,
    bucket_values,
    count_cells,
    middle_buckets,
)


def test_each_value_is_within_the_relative_error_of_all_of_its_bucket():
    ends = bucket_ends()
    values = bucket_values(ends)
    # Of the first one too, which begins where one before it would have ended.
    starts = ends * (1 - RELATIVE_ERROR) / (1 + RELATIVE_ERROR)
    np.testing.assert_allclose(starts[1:], ends[:-1], rtol=1e-12)
    np.testing.assert_allclose((values - starts) / starts, RELATIVE_ERROR, rtol=1e-9)
    np.testing.assert_allclose((ends - values) / ends, RELATIVE_ERROR, rtol=1e-9)


def test_buckets_reach_from_the_least_value_to_a_whole_cell():
    ends = bucket_ends()
    assert ends[0] <= LEAST_VALUE < ends[1]
    assert np.isclose(ends[-1], TARGET_SUM, rtol=1e-12)
    assert (np.diff(ends) > 0).all()
    assert ends.flags.c_contiguous


def counted(counts, row_of_var, n_rows, ends):
    """Buckets by the definition: for each cell and row the sum, over the cell's own sum."""
    buckets = np.zeros((n_rows, len(ends)), np.int64)
    for cell in counts:
        n_counts = cell[row_of_var != NO_GENE].sum()
        for row in range(n_rows):
            own = cell[row_of_var == row].sum()
            if own:
                value = own / n_counts * TARGET_SUM
                buckets[row, np.flatnonzero(value <= ends)[0]] += 1
    return buckets


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_cells_are_counted_where_their_values_lie(dtype):
    """Variables without a gene count nowhere, those without a row in the cell's sum alone."""
    rng = np.random.default_rng(0)
    row_of_var = np.array([0, 1, 1, NO_ROW, 2, NO_GENE, 0], np.int32)
    counts = rng.poisson(1.0, (12, 7)) * rng.choice([1, 1000], (12, 7))
    counts[3] = [0, 0, 0, 0, 0, 5, 0]
    sparse = csr_matrix(counts.astype(dtype))
    sparse.data[::9] = 0  # explicit zeros
    ends, buckets = bucket_ends(), np.zeros((3, len(bucket_ends())), np.uint32)
    for part in (sparse[:5], sparse[5:]):
        count_cells(part.data, part.indices, part.indptr, row_of_var, ends, buckets)
    assert (buckets == counted(sparse.toarray(), row_of_var, 3, ends)).all()


def test_a_value_at_the_end_of_a_bucket_and_ones_beyond_all():
    ends = bucket_ends()
    row_of_var = np.arange(2, dtype=np.int32)
    for share, bucket in (
        (ends[7] / TARGET_SUM, 7),
        (ends[7] * (1 + 1e-12) / TARGET_SUM, 8),
        (1e-12, 0),
        (1.0, len(ends) - 1),
    ):
        data = np.array([share, 1 - share])
        buckets = np.zeros((2, len(ends)), np.uint32)
        count_cells(data, np.arange(2), np.array([0, 2]), row_of_var, ends, buckets)
        assert np.flatnonzero(buckets[0]).tolist() == [bucket]


def test_middle_buckets_are_those_of_sorted_values():
    rng = np.random.default_rng(1)
    rows = [
        np.sort(rng.integers(0, 9, n)) for n in (0, 1, 2, 3, 4, 5, 10, 11, 40, 41) for _ in range(4)
    ]
    buckets = np.array([np.bincount(each, minlength=9) for each in rows], np.uint32)
    low, high = (np.empty(len(rows), np.int64) for _ in range(2))
    middle_buckets(buckets, low, high)
    for each, lower, upper in zip(rows, low, high, strict=True):
        if not len(each):
            assert (lower, upper) == (-1, -1)
            continue
        assert lower == each[(len(each) - 1) // 2]
        assert upper == each[len(each) // 2]
