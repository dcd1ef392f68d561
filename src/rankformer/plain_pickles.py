"""Pickles of plain values: dictionaries, lists, texts and numbers, and nothing that runs code."""

import pickle
from collections.abc import Collection
from typing import IO, Any

_NUMBERS = frozenset(
    (module, name)
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("dtype", "scalar")
)


class PlainUnpickler(pickle.Unpickler):
    """Reads plain values; refuses to look up anything that could run code.

    Parameters
    ----------
    stream
        Of the pickle.
    more
        Modules and names that are allowed beside those of numpy's numbers.
    """

    def __init__(self, stream: IO[bytes], more: Collection[tuple[str, str]] = ()) -> None:
        super().__init__(stream)
        self._allowed = _NUMBERS | set(more)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._allowed:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"asks for {module}.{name}")
