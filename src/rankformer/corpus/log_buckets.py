"""Expression in logarithmic buckets: medians of any number of cells within a relative error.

The sketch is DDSketch (Masson et al., PVLDB 12, 2195, 2019) with all its buckets in one dense
array: bucket i holds values above ``ends[i - 1]`` up to ``ends[i]``, whose ratio is
(1 + a) / (1 - a) for the relative error a, and stands for the value within a of both ends.
"""

import numpy as np
from numpy.typing import NDArray

from rankformer.compilation import compile_kernel

RELATIVE_ERROR = 0.01
TARGET_SUM = 10_000.0
# A count of 1 in a cell of 100 million counts; what is smaller falls into the first bucket.
LEAST_VALUE = 1e-4
NO_GENE, NO_ROW = -2, -1


def bucket_ends() -> NDArray[np.float64]:
    """(n_buckets,) the largest value of each bucket, from below `LEAST_VALUE` to `TARGET_SUM`."""
    ratio = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
    n_buckets = int(np.ceil(np.log(TARGET_SUM / LEAST_VALUE) / np.log(ratio))) + 1
    # Products and no powers: these are the same to the bit on every machine.
    ends = np.cumprod(np.full(n_buckets, 1 / ratio))[::-1] * ratio * TARGET_SUM
    return np.ascontiguousarray(ends)


def bucket_values(ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_buckets,) the value of each bucket that is equally far, relatively, from its ends."""
    starts = np.concatenate([[ends[0] * ends[0] / ends[1]], ends[:-1]])
    return 2 * starts * ends / (starts + ends)


@compile_kernel
def count_cells(data, indices, indptr, row_of_var, ends, buckets):  # type: ignore[no-untyped-def]
    """Add cells to `buckets` (n_rows, n_buckets).

    `row_of_var` (n_vars,) is `NO_GENE` for a variable whose counts are left out of the cell's sum,
    and `NO_ROW` for one that only counts there. Variables of one row are summed first.
    """
    value_of_row = np.zeros(len(buckets), np.float64)
    seen = np.empty(len(buckets), np.int32)
    per_bucket = 1 / np.log(ends[1] / ends[0])
    for cell in range(len(indptr) - 1):
        n_counts, n_seen = 0.0, 0
        for entry in range(indptr[cell], indptr[cell + 1]):
            row = row_of_var[indices[entry]]
            count = np.float64(data[entry])
            if row == NO_GENE or count == 0:
                continue
            n_counts += count
            if row >= 0:
                if value_of_row[row] == 0:
                    seen[n_seen] = row
                    n_seen += 1
                value_of_row[row] += count
        for i in range(n_seen):
            row = seen[i]
            value = value_of_row[row] / n_counts * TARGET_SUM
            buckets[row, _bucket_of(value, ends, per_bucket)] += np.uint32(1)
            value_of_row[row] = 0


@compile_kernel
def _bucket_of(value, ends, per_bucket):  # type: ignore[no-untyped-def]
    guess = np.int64(np.log(value / ends[0]) * per_bucket) + 1
    bucket = min(max(int(guess), 0), len(ends) - 1)
    # Logarithms differ in the last bit between machines: the ends decide.
    while bucket > 0 and value <= ends[bucket - 1]:
        bucket -= 1
    while bucket < len(ends) - 1 and value > ends[bucket]:
        bucket += 1
    return bucket


@compile_kernel
def middle_buckets(buckets, low, high):  # type: ignore[no-untyped-def]
    """Write the buckets of the lower and the upper middle value of each row; -1 for no value."""
    for row in range(len(buckets)):
        n = np.int64(0)
        for count in buckets[row]:
            n += count
        low[row] = high[row] = -1
        below = np.int64(0)
        for bucket in range(buckets.shape[1]):
            below += buckets[row, bucket]
            if n and low[row] < 0 and below > (n - 1) // 2:
                low[row] = bucket
            if n and below > n // 2:
                high[row] = bucket
                break
