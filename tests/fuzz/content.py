"""What a reader gave, as plain values that can be compared and sent to another process."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from tests.fuzz.mutations.hdf5 import SECRET_NAME, SECRET_NUMBER

Content = dict[str, Any]
"""Name → an array of numbers, a list of texts, or a plain value."""


def texts(values: Iterable[Any]) -> list[str]:
    return [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each)
            for each in values]  # fmt: skip


def is_same(one: Any, other: Any) -> bool:
    """Whether two contents are equal, NaN to NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        is_float = "f" in (one.dtype.kind, other.dtype.kind)
        return one.shape == other.shape and np.array_equal(one, other, equal_nan=is_float)
    return bool(one == other)


def holds_secret(content: Any) -> bool:
    """Whether something of it came from the other file that a damaged one may name."""
    if isinstance(content, dict):
        return any(holds_secret(each) for each in content.values())
    if isinstance(content, np.ndarray):
        return content.dtype.kind in "iuf" and bool((content == SECRET_NUMBER).any())
    if isinstance(content, list):
        return any(holds_secret(each) for each in content)
    return isinstance(content, str) and content.startswith(SECRET_NAME)
