"""The shards of a run, computed one after the other in this process."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Protocol

from rankformer.errors import RankformerError
from rankformer.progress import Progress
from rankformer.read_ahead import read_ahead
from rankformer.runs.run import Run
from rankformer.runs.shards import Shard, ShardWriter
from rankformer.runs.sources import RunInputs
from rankformer.tokens.token_sources import TokenPart, TokenSource

logger = logging.getLogger(__name__)


class ShardTask(Protocol):
    """What is computed of a shard."""

    def compute(
        self,
        source: TokenSource,
        shard: Shard,
        parts: Iterator[TokenPart],
        out: ShardWriter,
        progress: Progress,
    ) -> None:
        """Compute the cells of a shard, which come as tokens part by part, and write the result.

        Parameters
        ----------
        source
            The input that the shard is of.
        shard
            Its rows.
        parts
            Their tokens, in order.
        out
            Takes the result.
        progress
            Told of the cells that are done.
        """


@dataclass(frozen=True)
class _Read:
    """A part that was read of a shard; its last has no tokens, but an error where one was met."""

    shard: Shard
    source: TokenSource | None = None
    part: TokenPart | None = None
    error: RankformerError | None = None


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
) -> None:
    """Compute shards and write them; an input that cannot be read is set aside.

    While one part is computed the next is read, also that of the next shard or input.

    Parameters
    ----------
    run
        Where they are written.
    shards
        In order; the next is asked for when the last part of one was read.
    inputs
        Of which they are; its `failures` gain those that cannot be read.
    task
        Computes one.
    progress
        Told of the cells that are done.
    fail_fast
        Raise the error of an input that cannot be read.
    done
        Told of each shard that was written.

    Raises
    ------
    RankformerError
        If the model fails, or a shard cannot be written; with `fail_fast` also of reading.
    """
    with closing(_read(shards, inputs)) as reads, read_ahead(reads) as ahead:
        for shard, reads_of_shard in groupby(ahead, key=lambda each: each.shard):
            try:
                _compute(run, shard, reads_of_shard, task, progress)
            except _InputFailedError as failed:
                if fail_fast:
                    raise failed.error from failed
                inputs.set_aside(shard.input, failed.error)
                continue
            if done is not None:
                done(shard)


def _compute(
    run: Run, shard: Shard, reads: Iterator[_Read], task: ShardTask, progress: Progress
) -> None:
    first = next(reads)
    if first.error is not None:
        raise _InputFailedError(first.error)
    assert first.source is not None  # noqa: S101  # it was opened
    with run.writing(shard) as out:
        task.compute(first.source, shard, _parts_of(first, reads), out, progress)


def _read(shards: Iterable[Shard], inputs: RunInputs) -> Generator[_Read, None, None]:
    """Read inputs after another: those of a failed one end with its error."""
    for index, own in groupby(shards, key=lambda each: each.input):
        if index in inputs.failures:
            continue
        shard = first = next(own)
        try:
            with inputs.opened(index) as source:
                for shard in chain([first], own):
                    with closing(source.parts(shard.start, shard.stop)) as parts:
                        for part in parts:
                            yield _Read(shard, source, part)
                    yield _Read(shard, source)
        except RankformerError as error:
            yield _Read(shard, error=error)


def _parts_of(first: _Read, others: Iterator[_Read]) -> Iterator[TokenPart]:
    """Its last is not waited for further: it is written before the next shard is there."""
    for read in chain([first], others):
        if read.error is not None:
            raise _InputFailedError(read.error)
        if read.part is None:
            return
        yield read.part
