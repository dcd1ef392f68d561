"""The shards of a run, computed one after the other in this process.

Four stages work side by side, each in a thread: one reads, one encodes, one computes, and one
writes. None waits for the end of a shard or of an input.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from typing import Any, Protocol

import numpy as np

from rankformer.errors import RankformerError
from rankformer.progress import Progress
from rankformer.ragged import Ragged
from rankformer.read_ahead import read_ahead, use_behind
from rankformer.runs.run import Run
from rankformer.runs.shards import Shard, ShardWriter
from rankformer.runs.sources import RunInputs
from rankformer.stages import Stages
from rankformer.tokens.token_sources import StagedSource, TokenPart, TokenSource

READING, ENCODING, COMPUTING, WRITING = STAGES = ("reading", "encoding", "the model", "writing")
# Encoded parts that wait for the model, of 2,048 cells each: some 10 MB of tokens.
_PARTS_AHEAD = 2
# Results that wait to be written while a disk is slow: seconds of a GPU's work.
_MOST_BYTES_BEHIND = 64 << 20


@dataclass(frozen=True, eq=False)
class ShardPart:
    """Some cells of a shard; or that no more of them come, with the error if one is the reason.

    Attributes
    ----------
    shard, source
        Which cells these are; there is no source where it could not be opened.
    cells
        Their tokens; None at the end.
    error
        What reading or encoding met.
    """

    shard: Shard
    source: TokenSource | None = None
    cells: TokenPart | None = None
    error: RankformerError | None = None

    @cached_property
    def ragged(self) -> Ragged:
        """The tokens; of no cells at the end."""
        if self.cells is None:
            return np.empty(0, np.int32), np.zeros(1, np.int64)
        return self.cells.cells.ragged(0, len(self.cells.rows))


@dataclass(frozen=True, eq=False)
class ShardResult:
    """What was computed of some cells. Their tokens it does not hold.

    Attributes
    ----------
    shard, source, error
        As of the part that the cells are of.
    is_last
        Whether no more of the shard come.
    value
        For `ShardTask.write`; None where there is nothing to be written.
    n_bytes
        What it holds.
    """

    shard: Shard
    source: TokenSource | None
    error: RankformerError | None
    is_last: bool
    value: Any = None
    n_bytes: int = 0

    @classmethod
    def of(cls, part: ShardPart, value: Any = None, n_bytes: int = 0) -> "ShardResult":
        """What was computed of cells of a part."""
        return cls(part.shard, part.source, part.error, part.cells is None, value, n_bytes)


class ShardTask(Protocol):
    """What is computed of shards, and how it is written: by two threads at the same time."""

    def compute(
        self, parts: Iterator[ShardPart], n_cells: int | None, progress: Progress
    ) -> Generator[ShardResult, None, None]:
        """Compute the cells of shards, one after the other, as they come.

        Parameters
        ----------
        parts
            The cells in order. A part without cells ends each shard.
        n_cells
            Cells of all of them, where that is known.
        progress
            Told of the cells that are done.

        Yields
        ------
        Results in the order of the parts; for each part without cells one without a value, before
        the next part is asked for.
        """

    def write(
        self, source: TokenSource, shard: Shard, values: Iterator[Any], out: ShardWriter
    ) -> None:
        """Write a shard.

        Parameters
        ----------
        source
            The input that the shard is of.
        shard
            Its rows.
        values
            Of its results, in order.
        out
            Takes what is to be written.
        """


class _InputFailedError(Exception):
    """Reading failed in the middle of a shard."""

    def __init__(self, error: RankformerError) -> None:
        super().__init__(str(error))
        self.error = error


def compute_shards(
    run: Run,
    shards: Iterable[Shard],
    inputs: RunInputs,
    task: ShardTask,
    progress: Progress,
    *,
    fail_fast: bool = False,
    done: Callable[[Shard], None] | None = None,
) -> Stages:
    """Compute shards and write them; an input that cannot be read is set aside.

    Parameters
    ----------
    run
        Where they are written.
    shards
        In order; the next is asked for when the last part of one was read.
    inputs
        Of which they are; its `failures` gain those that cannot be read.
    task
        Computes and writes them.
    progress
        Told of the cells that are done.
    fail_fast
        Raise the error of an input that cannot be read.
    done
        Told of each shard that was written, by another thread.

    Returns
    -------
    How long each of `STAGES` worked and waited.

    Raises
    ------
    RankformerError
        If the model fails, or a shard cannot be written; with `fail_fast` also of reading.
    """
    stages, failed = Stages(STAGES), set[int]()
    n_cells = sum(map(len, shards)) if isinstance(shards, Sequence) else None
    writing = _Writing(run, inputs, task, fail_fast, done)
    reads = _read(shards, inputs, failed)
    with (
        read_ahead(reads, maker=stages[READING], user=stages[ENCODING]) as read,
        read_ahead(
            _encode(read, failed), _PARTS_AHEAD, maker=stages[ENCODING], user=stages[COMPUTING]
        ) as parts,
        use_behind(
            writing.write_all, _MOST_BYTES_BEHIND, maker=stages[COMPUTING], user=stages[WRITING]
        ) as put,
        stages[COMPUTING].works(),
        closing(task.compute(parts, n_cells, progress)) as results,
    ):
        for result in results:
            put(result, result.n_bytes)
    stages.end()
    return stages


def compute_shard(
    task: ShardTask, source: TokenSource, shard: Shard, parts: Iterable[TokenPart], out: ShardWriter
) -> None:
    """Compute and write a shard whose cells were encoded before.

    Parameters
    ----------
    task
        Computes and writes it.
    source, shard
        Of which cells it is.
    parts
        All of them.
    out
        Takes what is to be written.
    """
    cells = chain((ShardPart(shard, source, each) for each in parts), [ShardPart(shard, source)])
    with closing(task.compute(cells, len(shard), _tell_nobody)) as results:
        task.write(source, shard, _values_of(results), out)


def _tell_nobody(_: int) -> None:
    """The progress is told shard by shard."""


@dataclass(frozen=True)
class _Read:
    """What was read of a shard; its end has nothing, but an error where one was met."""

    shard: Shard
    source: StagedSource | None = None
    counts: Any = None
    error: RankformerError | None = None


def _read(
    shards: Iterable[Shard], inputs: RunInputs, failed: set[int]
) -> Generator[_Read, None, None]:
    """Read inputs after another: those of a failed one end with its error."""
    for index, own in groupby(shards, key=lambda each: each.input):
        if index in inputs.failures or index in failed:
            continue
        shard = first = next(own)
        try:
            with inputs.opened(index) as source:
                for shard in chain([first], own):
                    with closing(source.read(shard.start, shard.stop)) as reads:
                        for counts in reads:
                            yield _Read(shard, source, counts)
                    if index in failed:
                        break
                    yield _Read(shard, source)
        except RankformerError as error:
            failed.add(index)
            yield _Read(shard, error=error)


def _encode(reads: Iterable[_Read], failed: set[int]) -> Generator[ShardPart, None, None]:
    """Encode what was read; of an input that fails here, nothing more comes."""
    failed_here = set[int]()
    for read in reads:
        shard, source = read.shard, read.source
        if shard.input in failed_here:
            continue
        if source is None or read.counts is None:
            yield ShardPart(shard, source, error=read.error)
            continue
        try:
            for cells in source.encode(read.counts):
                yield ShardPart(shard, source, cells)
        except RankformerError as error:
            failed_here.add(shard.input)
            failed.add(shard.input)
            yield ShardPart(shard, source, error=error)


@dataclass(frozen=True)
class _Writing:
    """Writes results as they come; see `compute_shards`."""

    run: Run
    inputs: RunInputs
    task: ShardTask
    fail_fast: bool
    done: Callable[[Shard], None] | None

    def write_all(self, results: Iterator[ShardResult]) -> None:
        for shard, own in groupby(results, key=lambda each: each.shard):
            try:
                self._write(shard, own)
            except _InputFailedError as failed:
                if self.fail_fast:
                    raise failed.error from failed
                self.inputs.set_aside(shard.input, failed.error)
                continue
            if self.done is not None:
                self.done(shard)

    def _write(self, shard: Shard, results: Iterator[ShardResult]) -> None:
        first = next(results)
        if first.error is not None:
            raise _InputFailedError(first.error)
        assert first.source is not None  # noqa: S101  # it was opened
        with self.run.writing(shard) as out:
            values = _values_of(chain([first], results))
            self.task.write(first.source, shard, values, out)


def _values_of(results: Iterator[ShardResult]) -> Iterator[Any]:
    """Those of a shard: behind its end nothing is waited for, so that it is written at once."""
    for result in results:
        if result.value is not None:
            yield result.value
        elif result.error is not None:
            raise _InputFailedError(result.error)
        elif result.is_last:
            return
