"""Buckets of expression: their ends and values are as far apart as the relative error says."""

import numpy as np

from rankformer.data.log_buckets import (
    LEAST_VALUE,
    RELATIVE_ERROR,
    TARGET_SUM,
    bucket_ends,
    bucket_values,
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
