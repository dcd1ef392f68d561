"""Arrow and Parquet files written again with other columns, types or values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def damage_table(file: Path, rng: np.random.Generator) -> str:
    """Edit the table in a Parquet file or an Arrow stream; returns what was done."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    is_parquet = file.suffix == ".parquet"
    if is_parquet:
        table = pq.read_table(file, memory_map=False)
    else:
        with pa.ipc.open_stream(file.read_bytes()) as stream:
            table = stream.read_all()
    kind, changed = _change(table, rng)
    if is_parquet:
        pq.write_table(changed, file)
    else:
        with pa.ipc.new_stream(str(file), changed.schema) as stream:
            stream.write_table(changed)
    return f"table, {kind},"


def _change(table: Any, rng: np.random.Generator) -> tuple[str, Any]:
    import pyarrow as pa

    kind = str(rng.choice(sorted(_CHANGES)))
    column = int(rng.integers(table.num_columns))
    if kind in _OF_TABLES:
        return kind, _OF_TABLES[kind](table, column, rng)
    name = table.column_names[column]
    try:
        changed = _OF_COLUMNS[kind](table.column(column).to_pylist(), rng)
        return f"{name} {kind}", table.set_column(column, name, pa.array(changed))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return f"{name} deleted", table.drop([name])


def _with_a_null(values: list[Any], rng: np.random.Generator) -> list[Any]:
    values[int(rng.integers(len(values)))] = None
    return values


def _with_another(values: list[Any], rng: np.random.Generator) -> list[Any]:
    values[int(rng.integers(len(values)))] = values[int(rng.integers(len(values)))]
    return values


def _raised(values: list[Any], rng: np.random.Generator) -> list[Any]:
    more = int(rng.choice([1, -1, 1000, 2**31, 2**40, -5]))
    return [[each + more for each in value] if isinstance(value, list) else value + more
            for value in values]  # fmt: skip


_OF_COLUMNS: dict[str, Callable[[list[Any], np.random.Generator], list[Any]]] = {
    "with a null": _with_a_null,
    "with one value twice": _with_another,
    "raised": _raised,
    "as text": lambda values, rng: [str(each) for each in values],
    "as nulls": lambda values, rng: [None] * len(values),
    "as lists": lambda values, rng: [[each] for each in values],
    "as numbers": lambda values, rng: [float(each) for each in range(len(values))],
    "with an empty list": lambda values, rng: [[], *values[1:]],
    "with nulls within": lambda values, rng: [[*each, None] for each in values],
    "as NaN": lambda values, rng: [float("nan")] * len(values),
}
_OF_TABLES: dict[str, Callable[[Any, int, np.random.Generator], Any]] = {
    "a column deleted": lambda table, column, rng: table.drop([table.column_names[column]]),
    "a column twice": lambda table, column, rng: table.append_column("twice", table.column(column)),
    "a column renamed": lambda table, column, rng: table.rename_columns(
        [f"{name}x" if i == column else name for i, name in enumerate(table.column_names)]
    ),
    "shortened": lambda table, column, rng: table.slice(0, int(rng.integers(len(table) or 1))),
    "reversed": lambda table, column, rng: table.take(list(range(len(table)))[::-1]),
    "a row twice": lambda table, column, rng: table.take([0, *range(len(table))]),
    "without metadata": lambda table, column, rng: table.replace_schema_metadata(None),
    "with odd metadata": lambda table, column, rng: table.replace_schema_metadata(
        {key: b"[" * int(rng.integers(1, 2000)) for key in table.schema.metadata or {b"a": b""}}
    ),
}
_CHANGES = {**_OF_COLUMNS, **_OF_TABLES}
