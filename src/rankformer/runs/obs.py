"""The obs of a run's inputs, read again when its shards are merged."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pandas as pd

from rankformer.cells.open_sources import open_source
from rankformer.errors import OutputError
from rankformer.runs.inputs import InputFile
from rankformer.runs.run import Run
from rankformer.runs.shards import Shard
from rankformer.tokens.token_sources import obs_of_tokens
from rankformer.tokens.tokenized_cells import TokenizedCells, is_saved_tokens


@dataclass(frozen=True, eq=False)
class CellsOfInput:
    """The cells of an input, without their counts.

    Attributes
    ----------
    name
        As it was given.
    path
        Where it lies, or None where nothing can be added to a copy of it.
    obs
        Its cells.
    """

    name: str
    path: Path | None
    obs: pd.DataFrame

    def __len__(self) -> int:
        return len(self.obs)


def read_cells(run: Run, shards: Sequence[Shard]) -> list[CellsOfInput]:
    """Read the obs of the cells of some shards, input after input.

    Raises
    ------
    OutputError, CountsError
        If an input is gone, or is not what it was when it was read.
    """
    cells = []
    for index, own in groupby(shards, key=lambda shard: shard.input):
        known = run.manifest.inputs[index]
        whole, rows = _read(known), [(shard.start, shard.stop) for shard in own]
        if sum(stop - start for start, stop in rows) < len(whole):
            obs = pd.concat([whole.obs.iloc[start:stop] for start, stop in rows])
            # A copy of the input would have more cells.
            whole = CellsOfInput(whole.name, None, obs)
        elif len(run.manifest.inputs) > 1:
            # A part of the inputs has the form of all: a table of cells with their sources.
            whole = CellsOfInput(whole.name, None, whole.obs)
        cells.append(whole)
    return cells


def _read(known: InputFile) -> CellsOfInput:
    path = Path(known.path)
    if not path.exists():
        raise _changed(known, "is gone")
    now = InputFile.of(path)
    change = known.differs_from(now)
    if change is not None:
        what = f"has another {change} than when it was read"
        raise _changed(known, what, known.advice_where_touched(now))
    name = str(known.source.get("source", path))
    if is_saved_tokens(path):
        return CellsOfInput(name, path, obs_of_tokens(TokenizedCells.load(path)))
    with closing(open_source(path)) as opened:
        return CellsOfInput(name, opened.path, opened.obs)


def _changed(known: InputFile, what: str, advice: str | None = None) -> OutputError:
    back = "Put it back as it was, or begin the run anew with --restart."
    return OutputError(
        f"The input {known.path} {what}.",
        "The inputs as they were, whose obs goes into the result.",
        f"{advice} {back}" if advice else back,
    )
