"""Arrow tables of tokenized cells: their columns, of one type in every part."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rankformer.errors import TokensError
from rankformer.ragged import Ragged

INPUT_IDS, LENGTH = "input_ids", "length"


def as_attribute(name: str, column: Any) -> "pa.Array | pa.ChunkedArray":
    """Values of an attribute in Arrow.

    Raises
    ------
    TokensError
        If they are of several types, or of one that a dataset cannot hold.
    """
    try:
        values = pa.array(column)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise _mixed_attribute(f"The attribute {name} holds values of several types.") from error
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if isinstance(kind, pa.BaseExtensionType):
        raise _mixed_attribute(f"The attribute {name} holds {kind.extension_name}.")
    return values


def cast_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table whose columns are of the types that those before it had."""
    try:
        return table.cast(schema)
    except pa.ArrowException as error:
        odd = [each.name for each in table.schema if each.type != schema.field(each.name).type]
        raise mixed_attribute(odd) from error


def mixed_attribute(names: Sequence[str]) -> TokensError:
    """The error where attributes are of another type than in cells before."""
    return _mixed_attribute(
        f"The attribute {' or '.join(names)} has another type than in the cells before."
    )


def _mixed_attribute(found: str) -> TokensError:
    return TokensError(
        found,
        "Values of one type in each attribute, the same in all inputs.",
        "Make the column of obs text (astype(str)) or numbers everywhere, or leave it out.",
    )


def ragged_of(chunk: pa.ListArray) -> Ragged:
    """The lists of a column, end to end, and where each begins."""
    offsets = np.asarray(chunk.offsets).astype(np.int64)
    values = np.asarray(chunk.values, dtype=np.int32)[offsets[0] : offsets[-1]]
    return values, offsets - offsets[0]


def normalize_table(table: pa.Table) -> pa.Table:
    """A table with tokens of 32 bits and their lengths first, and the attributes behind them.

    Raises
    ------
    TokensError
        If the tokens are no lists of such numbers, or some are missing.
    """
    try:
        tokens = table[INPUT_IDS].cast(pa.list_(pa.int32()))
    except pa.ArrowException as error:
        raise TokensError(
            f"The column {INPUT_IDS} holds {table[INPUT_IDS].type}: {error}.",
            "Lists of whole numbers below 2,147,483,648.",
            "Tokenize the cells again.",
        ) from error
    if tokens.null_count or any(chunk.values.null_count for chunk in tokens.chunks):
        raise TokensError(
            f"The column {INPUT_IDS} has missing values.",
            "A list of tokens for each cell.",
            "Tokenize the cells again.",
        )
    lengths = pc.cast(pc.list_value_length(tokens), pa.int32())
    others = [name for name in table.column_names if name not in (INPUT_IDS, LENGTH)]
    return pa.table({INPUT_IDS: tokens, LENGTH: lengths, **{name: table[name] for name in others}})
