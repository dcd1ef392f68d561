"""Shards: consecutive cells of one input, computed and written as one piece."""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.results.parquet_tables import open_parquet
from rankformer.scratch import as_output_error

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ABOUT = b"rankformer_shard"
_HALF_WRITTEN = ".part"


@dataclass(frozen=True, order=True)
class Shard:
    """Some consecutive cells of an input.

    Attributes
    ----------
    input
        Which of the run's inputs, from 0.
    start, stop
        Its rows, from 0; `stop` is not included.
    step
        Which step of the task, from 0: a later one needs all shards of those before it.
    n_chosen
        How many of its cells are computed, where not all are.
    """

    step: int
    input: int
    start: int
    stop: int
    n_chosen: int | None = field(default=None, compare=False)

    def __len__(self) -> int:
        """How many cells are computed."""
        return self.stop - self.start if self.n_chosen is None else self.n_chosen

    @property
    def name(self) -> str:
        """Of its file, without ending: in the order of the cells."""
        return f"{self.step}-{self.input:06d}-{self.start:010d}-{self.stop:010d}"


def cut_shards(index: int, n_cells: int, cells_each: int, *, step: int = 0) -> list[Shard]:
    """The shards of an input of `n_cells` cells."""
    starts = range(0, n_cells, cells_each)
    return [Shard(step, index, start, min(start + cells_each, n_cells)) for start in starts]


def cut_where_chosen(
    index: int, chosen: NDArray[np.int64], cells_each: int, *, step: int = 0
) -> list[Shard]:
    """The shards of an input of which only the rows `chosen`, ascending, are computed."""
    blocks = [chosen[i : i + cells_each] for i in range(0, len(chosen), cells_each)]
    return [Shard(step, index, int(rows[0]), int(rows[-1]) + 1, len(rows)) for rows in blocks]


@dataclass(frozen=True)
class Share:
    """The part of a run that one of several processes does: the i-th of n, from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def among(self, shards: Sequence[Shard]) -> list[Shard]:
        """Its shards of each step: consecutive, so that few inputs are opened, of as many cells."""
        steps = sorted({shard.step for shard in shards})
        return [
            shard for step in steps
            for shard in self._among([each for each in shards if each.step == step])
        ]  # fmt: skip

    def _among(self, shards: Sequence[Shard]) -> list[Shard]:
        ends = np.cumsum([len(shard) for shard in shards])
        # By the middle of each shard, so that every one is in just one share.
        middles = ends - np.array([len(shard) for shard in shards]) / 2
        owner = np.minimum(middles * self.of // ends[-1], self.of - 1).astype(int)
        own = np.flatnonzero(owner == self.number - 1)
        return [shards[i] for i in own.tolist()]


class ShardWriter:
    """Takes the tables of a shard as they come; see `write_shard`."""

    def __init__(self, file: Path, about: Mapping[str, Any], stack: ExitStack) -> None:
        self._file, self._about, self._stack = file, dict(about), stack
        self._writers: dict[str, pq.ParquetWriter] = {}
        self.notes: dict[str, Any] = {}

    def add(self, table: "pa.Table", kind: str = "") -> None:
        """Append rows; a kind other than the first is written to a file of its own."""
        if kind not in self._writers:
            writer = open_parquet(half_written(shard_file(self._file, kind)), table.schema)
            self._writers[kind] = self._stack.enter_context(writer)
        self._writers[kind].write_table(table.cast(self._writers[kind].schema))

    def note(self, **figures: Any) -> None:
        """Add figures, plain values, to what the shard says of itself."""
        self.notes |= figures

    def finish(self) -> list[str]:
        """Write what the shard says of itself; give the kinds of its files, the main one last."""
        import pyarrow as pa

        if "" not in self._writers:
            self.add(pa.table({}))
        about = {_ABOUT: json.dumps({**self._about, **self.notes}).encode()}
        for writer in self._writers.values():
            writer.add_key_value_metadata(about)
        return sorted(self._writers, reverse=True)


@contextmanager
def write_shard(file: Path, about: Mapping[str, Any]) -> Iterator[ShardWriter]:
    """Write the Parquet files of a shard, which appear when all of them are whole and on the disk.

    Parameters
    ----------
    file
        The main one, which appears last.
    about
        Plain values that tell what it is of.

    Raises
    ------
    OutputError
        If they cannot be written. Nothing half-written is left.
    """
    kinds: list[str] = []
    try:
        with as_output_error(file):
            with ExitStack() as stack:
                writer = ShardWriter(file, about, stack)
                yield writer
                kinds = writer.finish()
            for kind in kinds:
                _put_in_place(shard_file(file, kind))
    except BaseException:
        for left in file.parent.glob(f"{file.stem}.*{os.getpid()}{_HALF_WRITTEN}"):
            with suppress(OSError):
                left.unlink()
        raise


def half_written(file: Path) -> Path:
    """What a file is named while it is written: for this process alone, on this machine alone."""
    return file.with_name(f"{file.name}.{platform.node()}-{os.getpid()}{_HALF_WRITTEN}")


def shard_file(file: Path, kind: str = "") -> Path:
    """The file of a kind beside the main one."""
    return file.with_suffix(f".{kind}.parquet") if kind else file


def _put_in_place(file: Path) -> None:
    """Have the bytes on the disk before the name: the machine may lose its power."""
    part = half_written(file)
    sync(part)
    part.replace(file)
    sync(file.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk, where the system can tell."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        # Windows opens no folders.
        return
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def about_shard(file: Path) -> dict[str, Any] | None:
    """What a shard says of itself, or None where the file is not there or is damaged."""
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(file).metadata or {}
        about = json.loads(metadata[_ABOUT])
    # A damaged file makes its reader raise nearly anything.
    except Exception:
        return None
    return about if isinstance(about, dict) else None
