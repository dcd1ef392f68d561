"""Text from files as data: one that writes into an .h5ad must not write to a terminal or at length.

What the text says stays as it is. Whether it reads like an order is for the agent to ignore, to
which the instructions of the server say so.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from rankformer.printable import printable, without_secrets

MOST_CHARACTERS, MOST_OF_A_NAME = 2000, 200
MOST_ITEMS = 50


def as_data(value: Any) -> Any:
    """Dataclasses, tables' values and texts as what JSON has, each text short and printable."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: as_data(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {shown(str(name)): as_data(each) for name, each in first(value.items())}
    if isinstance(value, list | tuple):
        return [as_data(each) for each in value]
    if isinstance(value, Path):
        return printable(str(value))
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return as_data(value.item()) if hasattr(value, "item") else shown(str(value))


def name_shown(name: object) -> str:
    """A name, or a value of obs, which is short where nothing is wrong."""
    return shown(str(name), MOST_OF_A_NAME)


def shown(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text of which no more than `most` characters are left."""
    cut = text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters in all)"
    return printable(without_secrets(cut))


def first(items: Iterable[Any], most: int = MOST_ITEMS) -> tuple[Any, ...]:
    """The first of some items."""
    return tuple(each for each, _ in zip(items, range(most), strict=False))
