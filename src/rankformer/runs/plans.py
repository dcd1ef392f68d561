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
        raise OutputError(
            f"The shards that the manifest of the run names could not be read: {str(error)[:200]}.",
            "A manifest as a run writes it.",
            "Begin the run anew with --restart, which deletes what it had done.",
        ) from error


def _as_text(shard: Shard) -> str:
    chosen = "" if len(shard) == shard.stop - shard.start else f":{len(shard)}"
    return f"{shard.start}-{shard.stop}{chosen}"


def _from_text(text: str, step: int, index: int) -> Shard:
    rows, _, n_chosen = text.partition(":")
    start, _, stop = rows.partition("-")
    n_rows = int(stop) - int(start)
    return Shard(step, index, int(start), int(stop), int(n_chosen or n_rows))
