"""Pickles of plain values: dictionaries, lists, texts and numbers, and nothing that runs code."""

import pickle
from collections.abc import Collection
from typing import IO, Any

import numpy as np

_OF_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
_KINDS = "biuf"


class PlainUnpickler(pickle.Unpickler):
    """Reads plain values; refuses to look up anything that could run code.

    Numbers of numpy are put together here: numpy's own functions take a damaged type for a pointer,
    and end the process.

    Parameters
    ----------
    stream
        Of the pickle.
    more
        Modules and names that are allowed beside those of numpy's numbers.
    """

    def __init__(self, stream: IO[bytes], more: Collection[tuple[str, str]] = ()) -> None:
        super().__init__(stream)
        self._allowed = frozenset(more)

    def find_class(self, module: str, name: str) -> Any:
        if module in _OF_NUMPY and name == "dtype":
            return _NumberType
        if module in _OF_NUMPY and name == "scalar":
            return _make_number
        if (module, name) in self._allowed:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"asks for {module}.{name}")


class _NumberType:
    """What a pickle says of a number's type: stands for `numpy.dtype` until it was checked."""

    def __init__(self, code: object, *_: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]
        else:
            raise pickle.UnpicklingError(f"has a number of the type {self.code!r}, {state!r}")


def _make_number(kind: object, data: object) -> Any:
    """What `numpy.core.multiarray.scalar` does, of numbers alone."""
    code = kind.code if isinstance(kind, _NumberType) else None
    if isinstance(code, str) and code[:1] in _KINDS and code[1:] in ("1", "2", "4", "8"):
        dtype = np.dtype(f"{kind.order}{code}")  # type: ignore[attr-defined]
        if isinstance(data, bytes) and len(data) == dtype.itemsize:
            return np.frombuffer(data, dtype)[0]
    raise pickle.UnpicklingError(f"has a number of the type {code!r}")
