"""Embeddings of cells as shards of a run: computed, and read again as one array."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.embed.batches import CellBatch
from rankformer.embed.cells import check_fits, filtered_out, put_vectors
from rankformer.embed.embedder import Embedder
from rankformer.embed.settings import CellMode
from rankformer.progress import Progress
from rankformer.ragged import Ragged
from rankformer.results.parquet_tables import vectors_column
from rankformer.runs.compute import ShardPart, ShardResult
from rankformer.runs.run import Run
from rankformer.runs.shards import Shard, ShardWriter
from rankformer.tokens.token_sources import TokenSource

_VECTOR, _MISSING = "vector", "missing"


@dataclass(frozen=True, eq=False)
class VectorShards:
    """Computes the vectors of the cells of a shard.

    The Parquet file has a row for each cell: ``cell``, its name; ``missing``, why it has no vector,
    or null; and ``vector``.
    """

    embedder: Embedder
    mode: CellMode

    def compute(
        self, parts: Iterator[ShardPart], n_cells: int | None, progress: Progress
    ) -> Generator[ShardResult, None, None]:
        """Embed the cells of shards; see `ShardTask`."""
        embedder = self.embedder
        tokens_of = partial(tokens_for, embedder)
        with closing(embedder.stream_cells(parts, tokens_of, self.mode, n_cells)) as batches:
            for part, start, stop, batch in batches:
                if batch is None or part.cells is None:
                    yield ShardResult.of(part)
                    continue
                rows = part.cells.rows[start:stop] - part.shard.start
                yield ShardResult.of(part, (rows, batch), batch.n_bytes)
                progress(stop - start)

    def write(
        self,
        source: TokenSource,
        shard: Shard,
        values: Iterator[tuple[NDArray[np.int64], CellBatch]],
        out: ShardWriter,
    ) -> None:
        """Write the vectors of a shard; see `ShardTask`."""
        import pyarrow as pa

        vectors = np.full((len(shard), self.embedder.d_model), np.nan, np.float32)
        missing = filtered_out(source, shard.start, shard.stop)
        n_full, input_length = 0, self.embedder.checkpoint.vocabulary.input_length
        for rows, batch in values:
            put_vectors(vectors, missing, rows, batch)
            n_full += int((batch.lengths >= input_length).sum())
        columns = {
            "cell": pa.array(source.names(shard.start, shard.stop), pa.string()),
            _MISSING: pa.array(missing, pa.string()),
            _VECTOR: vectors_column(vectors),
        }
        out.add(pa.table(columns))
        out.note(n_cells_filling_the_input=n_full)


def tokens_for(embedder: Embedder, part: ShardPart) -> Ragged:
    """The tokens of the cells of a part.

    Raises
    ------
    TokensError
        If they are of another vocabulary than the embedder's.
    """
    if part.source is not None:
        check_fits(part.source, embedder)
    return part.ragged


class ShardedVectors:
    """The vectors of all cells of a run, as an array that is read some rows at a time.

    Parameters
    ----------
    run
        Of which all shards are done.
    shards
        Those to read, in the order of their cells.
    d_model
        The width of a vector.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, run: Run, shards: Sequence[Shard], d_model: int) -> None:
        self._run, self._shards = run, list(shards)
        self._starts = np.cumsum([0, *map(len, shards)])
        self.shape = (int(self._starts[-1]), d_model)
        # The last that was read: rows are asked for in order.
        self._read: tuple[int, NDArray[np.float32]] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """What all would take in memory."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Some consecutive rows: (n, d_model) float32."""
        start, stop, _ = rows.indices(len(self))
        if stop <= start:
            return np.empty((0, self.shape[1]), np.float32)
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        pieces = []
        while start < stop:
            shard_start, shard_stop = self._starts[first], self._starts[first + 1]
            own = self._vectors_of(first)[start - shard_start : stop - shard_start]
            pieces.append(own)
            start, first = int(shard_stop), first + 1
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All in memory."""
        if copy is False:
            raise ValueError("The vectors lie on the disk: an array of them is a copy.")
        return self[0 : len(self)].astype(dtype or self.dtype, copy=False)

    def _vectors_of(self, index: int) -> NDArray[np.float32]:
        if self._read is None or self._read[0] != index:
            column = self._run.read_shard(self._shards[index], columns=[_VECTOR])[_VECTOR]
            flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            self._read = index, flat.reshape(-1, self.shape[1])
        return self._read[1]


def read_reasons(run: Run, shards: Sequence[Shard]) -> NDArray[np.object_]:
    """(n_cells,) object: why cells of the shards have no vector, or None."""
    reasons = [run.read_shard(shard, columns=[_MISSING])[_MISSING].to_numpy() for shard in shards]
    return np.concatenate(reasons) if reasons else np.empty(0, object)


def count_full(run: Run, shards: Sequence[Shard]) -> int:
    """How many cells of the shards fill the model's input."""
    return sum(int(run.notes(shard).get("n_cells_filling_the_input", 0)) for shard in shards)
