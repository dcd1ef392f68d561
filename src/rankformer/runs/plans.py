"""Shards that are not all cells of all inputs, as the notes of a manifest keep them.

A line of text has those of an input and step, as there may be 100,000: ``0-64 64-130:60`` are the
rows 0 … 63, and 60 chosen ones of the rows 64 … 129.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rankformer.errors import OutputError
from rankformer.runs.shards import Shard

_NOTE = "shards"
_MOST_SHARDS = 1_000_000


def note_shards(shards: Sequence[Shard]) -> dict[str, Any]:
    """Notes of a manifest, which say what the shards of a run are."""
    lines = [
        {"step": step, "input": index, "rows": " ".join(map(_as_text, own))}
        for (step, index), own in groupby(shards, key=lambda each: (each.step, each.input))
    ]
    return {_NOTE: lines}


def noted_shards(notes: Mapping[str, Any]) -> list[Shard] | None:
    """The shards that notes speak of, or None where they are all cells of all inputs.

    Raises
    ------
    OutputError
        If they are damaged.
    """
    if _NOTE not in notes:
        return None
    try:
        return [
            _from_text(text, int(line["step"]), int(line["input"]))
            for line in notes[_NOTE] for text in line["rows"].split()
        ]  # fmt: skip
    # Damaged ones may lack any part, or have it in another form.
    except Exception as error:
        raise _damaged(str(error)) from error


def expect_within(shards: Sequence[Shard], sizes: Sequence[int]) -> None:
    """Refuse shards of cells that there are not.

    Parameters
    ----------
    shards
        Those that a manifest names.
    sizes
        The cells of each input.

    Raises
    ------
    OutputError
        If one is of no input, or of more cells than that has.
    """
    for shard in shards:
        is_within = 0 <= shard.input < len(sizes) and shard.stop <= sizes[shard.input]
        n_rows = shard.stop - shard.start
        if not (is_within and shard.step >= 0 <= shard.start and 0 < len(shard) <= n_rows):
            raise _damaged(f"it names {shard.name}, and there are no such cells")


def expect_few_shards(sizes: Sequence[int], cells_each: int) -> None:
    """Refuse a division of the cells into more shards than a folder can hold.

    Raises
    ------
    OutputError
        If there were more than a million.
    """
    n_shards = sum(-(-size // cells_each) for size in sizes)
    if n_shards > _MOST_SHARDS:
        raise OutputError(
            f"{sum(sizes):,} cells in shards of {cells_each:,} are {n_shards:,} shards.",
            f"At most {_MOST_SHARDS:,} shards.",
            "Choose larger shards (--shard-cells), with --restart where a run was begun.",
        )


def _damaged(what: str) -> OutputError:
    return OutputError(
        f"The shards that the manifest of the run names could not be read: {what[:200]}.",
        "A manifest as a run writes it.",
        "Begin the run anew with --restart, which deletes what it had done.",
    )


def _as_text(shard: Shard) -> str:
    chosen = "" if len(shard) == shard.stop - shard.start else f":{len(shard)}"
    return f"{shard.start}-{shard.stop}{chosen}"


def _from_text(text: str, step: int, index: int) -> Shard:
    rows, _, n_chosen = text.partition(":")
    start, _, stop = rows.partition("-")
    n_rows = int(stop) - int(start)
    return Shard(step, index, int(start), int(stop), int(n_chosen or n_rows))
