"""What runs on the nodes of a Ray cluster: shards are read and encoded, and computed."""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import MissingFileError, RankformerError, WorkerError
from rankformer.runs.compute import ShardTask, compute_shard
from rankformer.runs.engines.recipes import WorkElsewhere
from rankformer.runs.engines.relayed_logs import relay_logs
from rankformer.runs.manifest import MANIFEST
from rankformer.runs.run import Run
from rankformer.runs.shards import Shard
from rankformer.tokens.token_sources import TokenPart
from rankformer.tokens.tokenize import open_token_source
from rankformer.vocabulary.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Encoded:
    """The tokens of a shard, with what of its input a task asks for; or why there are none.

    Attributes
    ----------
    name, n_cells
        Of the input.
    kept, names
        Of the shard's cells: whether they were left out, and how they are called.
    parts
        Their tokens.
    error
        What reading met.
    log
        What was logged.
    """

    name: str = ""
    n_cells: int = 0
    kept: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    names: NDArray[np.object_] = field(default_factory=lambda: np.empty(0, object))
    parts: Sequence[TokenPart] = ()
    error: RankformerError | None = None
    log: Sequence[logging.LogRecord] = ()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a shard.

    Attributes
    ----------
    failed
        What reading met.
    error
        What computing or writing met.
    log
        What was logged.
    """

    failed: RankformerError | None = None
    error: RankformerError | None = None
    log: Sequence[logging.LogRecord] = ()


@dataclass(frozen=True, eq=False)
class EncodedSource:
    """An encoded shard as a `TokenSource`: of the input's other cells nothing is known.

    Attributes
    ----------
    encoded, shard, vocabulary
        What was encoded, which cells these are, and by which vocabulary.
    """

    encoded: Encoded
    shard: Shard
    vocabulary: Vocabulary

    @property
    def name(self) -> str:
        return self.encoded.name

    @property
    def path(self) -> Path | None:
        return None

    @property
    def obs(self) -> pd.DataFrame:
        """The names of the cells of the shard; it has no columns."""
        return pd.DataFrame(index=self.encoded.names)

    def __len__(self) -> int:
        return self.encoded.n_cells

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Of all cells of the input; those outside the shard count as kept."""
        kept = np.ones(len(self), bool)
        kept[self.shard.start : self.shard.stop] = self.encoded.kept
        return kept

    def names(self, start: int, stop: int) -> NDArray[np.object_]:
        first = self.shard.start
        return self.encoded.names[start - first : stop - first]

    def parts(self, start: int = 0, stop: int | None = None) -> Any:
        """Those of the shard, whichever rows are asked for."""
        del start, stop
        yield from self.encoded.parts

    def provenance(self) -> dict[str, Any]:
        return {"source": self.name}

    def close(self) -> None:
        """Nothing: it lies in memory."""


def encode(work: WorkElsewhere, shard: Shard, level: int) -> Encoded:
    """Read the counts of a shard and encode them; a task of Ray, for CPUs."""
    path = work.paths[shard.input]
    with _logged(level) as log:
        try:
            with closing(open_token_source(path, work.vocabulary, work.options)) as source:
                with closing(source.parts(shard.start, shard.stop)) as parts:
                    read = tuple(parts)
                kept, names = source.kept, source.names(shard.start, shard.stop)
                own = kept[shard.start : shard.stop].copy()
                return Encoded(source.name, len(source), own, names, read, log=log)
        except MissingFileError as error:
            return Encoded(error=_unseen(path, "the input", error), log=log)
        except RankformerError as error:
            return Encoded(error=error, log=log)


class ModelWorker:
    """Holds the model, and computes and writes shards; an actor of Ray."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._task: ShardTask | None = None
        # Read when torch is loaded, which happens later.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    def start(self, work: WorkElsewhere, device: str, n_threads: int) -> Outcome:
        """Load the model, if the folder of the run is seen from here."""
        self._work = work
        with _logged(self._level) as log:
            try:
                self._expect_run(work)
                self._task = work.recipe.start(device, n_threads)
            except RankformerError as error:
                return Outcome(error=error, log=log)
            return Outcome(log=log)

    def compute(self, shard: Shard, encoded: Encoded) -> Outcome:
        """Compute an encoded shard, and write it into the run's folder."""
        if encoded.error is not None:
            return Outcome(failed=encoded.error, log=encoded.log)
        assert self._task is not None  # noqa: S101  # it was started
        source = EncodedSource(encoded, shard, self._work.vocabulary)
        with _logged(self._level) as log:
            log.extend(encoded.log)
            try:
                with self._work.run.writing(shard) as out:
                    compute_shard(self._task, source, shard, encoded.parts, out)
            except RankformerError as error:
                return Outcome(error=error, log=log)
            return Outcome(log=log)

    def _expect_run(self, work: WorkElsewhere) -> None:
        if not (work.folder / MANIFEST).exists():
            raise _unseen(work.folder, "the folder of the run")
        if Run.read(work.folder).manifest.work.id != work.manifest.work.id:
            raise _unseen(work.folder, "the same folder of the run")


def _unseen(path: Path, what: str, error: Exception | None = None) -> WorkerError:
    reason = f" ({str(error)[:100]})" if error else ""
    return WorkerError(
        f"A worker of Ray on {socket.gethostname()} does not see {what}, {path}{reason}.",
        "A file system that all nodes of the cluster share, with inputs, model and output at the "
        "same path on each.",
        "Put them there, and give the command with these paths.",
    )


@contextmanager
def _logged(level: int) -> Iterator[list[logging.LogRecord]]:
    """Collect what is logged, which goes to the driver with the result."""
    log: list[logging.LogRecord] = []
    relay_logs(log.append, level)
    yield log
