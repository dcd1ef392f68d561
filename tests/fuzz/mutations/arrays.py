"""Values of an array changed: its numbers, names, type and shape."""

from collections.abc import Callable
from typing import Any

import numpy as np

ODD_NUMBERS = (-1, 0, 1, 2**31 - 1, 2**31, 2**40, 2**62, -(2**62))
Change = Callable[[Any, np.random.Generator], Any]


def change_array(values: Any, rng: np.random.Generator) -> tuple[str, Any]:
    """What was done, and the changed array; None where it is to be gone, {} for a group."""
    values = np.array(values)
    is_text = values.dtype.kind in "OSUT"
    if is_text:
        values = values.astype(object)
    if values.ndim == 0 or not values.size:
        return "made a vector", np.arange(3)
    changes = _TEXT_CHANGES if is_text else _NUMBER_CHANGES
    kind = str(rng.choice(sorted(changes)))
    return kind, changes[kind](values, rng)


def _odd_numbers(values: Any, rng: np.random.Generator) -> Any:
    values = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    places = rng.integers(values.size, size=rng.integers(1, 6))
    values.flat[places] = rng.choice(np.array(ODD_NUMBERS), places.size)
    return values


def _zero_range(values: Any, rng: np.random.Generator) -> Any:
    start = int(rng.integers(values.size))
    values.flat[start : start + int(rng.integers(1, max(values.size // 4, 2)))] = 0
    return values


def _one_off(values: Any, rng: np.random.Generator) -> Any:
    place = int(rng.integers(values.size))
    values.flat[place] += 1 if values.flat[place] == 0 or rng.random() < 0.5 else -1
    return values


_SHAPE_CHANGES: dict[str, Change] = {
    "deleted": lambda values, rng: None,
    "made a group": lambda values, rng: {},
    "shortened": lambda values, rng: values[: int(rng.integers(len(values)))],
    "lengthened": lambda values, rng: np.concatenate([values, values[: len(values) // 2]]),
    "made a scalar": lambda values, rng: values.flat[0],
    "made a column": lambda values, rng: values.reshape(-1, 1),
    "made of three dimensions": lambda values, rng: values.reshape(1, -1, 1),
    "reversed": lambda values, rng: values[::-1].copy(),
    "shuffled": lambda values, rng: rng.permutation(values),
}
_NUMBER_CHANGES: dict[str, Change] = {
    **_SHAPE_CHANGES,
    "odd numbers": _odd_numbers,
    "a range zeroed": _zero_range,
    "one number one off": _one_off,
    "one lower throughout": lambda values, rng: values.astype(np.int64) - 1,
    "doubled": lambda values, rng: values.astype(np.int64) * 2,
    "all zero": lambda values, rng: np.zeros_like(values),
    "kept below one of its own": lambda values, rng: np.minimum(values, rng.choice(values.flat)),
    "as booleans": lambda values, rng: values.astype(bool),
    "as float16": lambda values, rng: values.astype(np.float16),
    "as float64": lambda values, rng: values.astype(np.float64),
    "of the other byte order": lambda values, rng: values.astype(values.dtype.newbyteorder(">")),
    "as NaN": lambda values, rng: np.full(values.shape, np.nan),
    "as infinity": lambda values, rng: np.full(values.shape, np.inf),
    "as int8": lambda values, rng: values.astype(np.int64).astype(np.int8),
    "as uint64": lambda values, rng: values.astype(np.int64).astype(np.uint64),
    "as complex": lambda values, rng: values.astype(np.complex64),
    "as text": lambda values, rng: values.astype(str).astype("S"),
}
_TEXT_CHANGES: dict[str, Change] = {
    **_SHAPE_CHANGES,
    "one name emptied": lambda values, rng: np.where(np.arange(len(values)) == 3, "", values),
    "all names one": lambda values, rng: np.full(values.shape, values.flat[0], dtype=object),
    "as numbers": lambda values, rng: np.arange(len(values)),
    "as NaN": lambda values, rng: np.full(values.shape, np.nan),
    "no text of Unicode": lambda values, rng: np.array([b"\xff\xfe"] * len(values), dtype="S"),
    "very long names": lambda values, rng: np.array([f"{each}" * 999 for each in values], object),
}
