"""Which shards are left to be given to workers, and what becomes of those whose worker died."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from rankformer.errors import RankformerError, WorkerError
from rankformer.runs.shards import Shard
from rankformer.runs.sources import RunInputs

_MOST_DEATHS_OF_A_SHARD = 3
MOST_DEATHS_IN_A_ROW = 4


@dataclass(frozen=True)
class Given:
    """A shard that a worker is to compute; `alone`, if it is to get no other meanwhile."""

    shard: Shard
    alone: bool = False


class Assignments:
    """The shards of a run that workers are to compute, each given to one of them.

    The shards that a worker had when it died are given out again. As it is not known which of them
    ended it, each then goes to a worker that has no other: one that ends that too is known.

    Parameters
    ----------
    shards
        In the order in which they are given out.
    inputs
        Of the run; its `failures` gain those that cannot be read, or that end their workers.
    fail_fast
        Raise the first error of an input, in the place of setting it aside.
    """

    def __init__(self, shards: Sequence[Shard], inputs: RunInputs, *, fail_fast: bool) -> None:
        self._left, self._inputs, self._fail_fast = deque(shards), inputs, fail_fast
        self._deaths: Counter[Shard] = Counter()

    @property
    def n_left(self) -> int:
        """Shards that were not given out, or came back."""
        self._left = deque(each for each in self._left if each.input not in self._inputs.failures)
        return len(self._left)

    def first(self, n_shards: int) -> list[Shard]:
        """Those that are given out first."""
        return list(self._left)[:n_shards]

    def take(self, *, is_idle: bool) -> Given | None:
        """The next shard for a worker, or None: `is_idle`, if it has no other at this time."""
        if not self.n_left:
            return None
        fit = (each for each in self._left if is_idle or not self._deaths[each])
        shard = next(fit, None)
        if shard is None:
            return None
        self._left.remove(shard)
        return Given(shard, alone=self._deaths[shard] > 0)

    def set_aside(self, index: int, error: RankformerError) -> None:
        """An input failed; its other shards are not given out.

        Raises
        ------
        RankformerError
            The error, with `fail_fast`.
        """
        if self._fail_fast:
            raise error
        if index not in self._inputs.failures:
            self._inputs.set_aside(index, error)

    def worker_died(self, given: Sequence[Shard], how: str) -> None:
        """Take back the shards that a worker had, and set aside one that ends every worker.

        Parameters
        ----------
        given
            Those it had not done yet.
        how
            What became of it, as the end of a sentence.
        """
        self._deaths.update(given)
        self._left.extendleft(reversed(given))
        for shard in given:
            if self._deaths[shard] >= _MOST_DEATHS_OF_A_SHARD:
                self.set_aside(shard.input, self._ended_by(shard, how))

    def _ended_by(self, shard: Shard, how: str) -> WorkerError:
        path = self._inputs.paths[shard.input]
        return WorkerError(
            f"{self._deaths[shard]} worker processes in a row ended while they read or computed "
            f"the cells {shard.start:,} to {shard.stop - 1:,} of {path}: the last {how}.",
            "Processes that run to the end of each shard.",
            "Look for messages of the operating system about memory or about the GPU, check the "
            "file with `rankformer inspect`, and try smaller shards (--shard-cells) or batches "
            "(--batch-size).",
        )
