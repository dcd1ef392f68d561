"""Rows of unequal length, as data and model hand them to each other: values and offsets."""

import numpy as np
from numpy.typing import NDArray

Ragged = tuple[NDArray[np.int32], NDArray[np.int64]]
"""``values`` (n_values,) of all rows end to end; ``offsets`` (n_rows + 1,) where each begins."""
