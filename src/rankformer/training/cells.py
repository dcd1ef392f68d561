"""Cells to train on: sources end to end, read in blocks, taken in any order.

A block is read when one of its cells is asked for and kept for a while, so that cells in the order
of `rankformer.tokens.block_shuffle` are read about once an epoch, in memory that does not grow with
their number.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from rankformer.errors import SettingsError
from rankformer.ragged import Ragged
from rankformer.tokens.block_shuffle import BLOCK_CELLS, BLOCKS_MIXED
from rankformer.tokens.rank_value import encode_rank_values
from rankformer.tokens.thinning import split_counts, split_genes
from rankformer.tokens.token_sources import SavedTokens, TokenSource
from rankformer.tokens.tokenize import TokenStream
from rankformer.tokens.tokenized_cells import TokenizedCells

S = TypeVar("S", bound=TokenSource)
# The blocks that are mixed, and those of the round before, from which a batch may still take.
_BLOCKS_KEPT = 2 * BLOCKS_MIXED


class _Cells(NamedTuple):
    """Columns of values, a run of them for each cell, which begins at its offset."""

    offsets: NDArray[np.int64]
    columns: tuple[NDArray[Any], ...]


class TrainingCells(ABC, Generic[S]):
    """Cells that can be taken in any order, whole or in two parts.

    Parameters
    ----------
    sources
        Opened and checked, all for one vocabulary.
    """

    def __init__(self, sources: Sequence[S]) -> None:
        self.sources = sources
        self.vocabulary = sources[0].vocabulary
        self._ends = np.cumsum([0, *map(len, sources)]).tolist()
        self._block = lru_cache(_BLOCKS_KEPT)(self._read_block)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        """All but the blocks that were read, for another process."""
        return {name: value for name, value in self.__dict__.items() if name != "_block"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._block = lru_cache(_BLOCKS_KEPT)(self._read_block)

    @cached_property
    def obs(self) -> pd.DataFrame:
        """The columns that all sources have."""
        tables: list[pd.DataFrame] = [source.obs for source in self.sources]
        return pd.concat(tables, join="inner")

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(n_cells,) False for cells that ``obs["filter_pass"]`` leaves out."""
        return np.concatenate([source.kept for source in self.sources])

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """Tokens of the cells at `rows`, in that order, with special tokens."""

    @abstractmethod
    def split(
        self, rows: NDArray[np.int64], shares: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[Ragged, Ragged]:
        """Tokens of two parts of each cell; the first has about a share of its molecules."""

    @abstractmethod
    def _read(self, source: S, start: int, stop: int) -> _Cells:
        """The cells start … stop - 1 of a source."""

    def _gather(self, rows: NDArray[np.int64]) -> _Cells:
        cells = [self._cell(row) for row in rows.tolist()]
        lengths = [len(columns[0]) for columns in cells]
        columns = zip(*cells, strict=True)
        return _Cells(np.cumsum([0, *lengths]), tuple(map(np.concatenate, columns)))

    def _cell(self, row: int) -> tuple[NDArray[Any], ...]:
        starts, columns = self._block(row // BLOCK_CELLS)
        own = slice(starts[row % BLOCK_CELLS], starts[row % BLOCK_CELLS + 1])
        return tuple([column[own] for column in columns])

    def _read_block(self, block: int) -> tuple[list[int], tuple[NDArray[Any], ...]]:
        """Where each cell of the block begins, and the columns."""
        first, last = block * BLOCK_CELLS, min((block + 1) * BLOCK_CELLS, len(self))
        parts = [
            self._read(source, max(first - start, 0), min(last, stop) - start)
            for (start, stop), source in zip(pairwise(self._ends), self.sources, strict=True)
            if start < last and stop > first
        ]
        cells = parts[0] if len(parts) == 1 else _join(parts)
        return cells.offsets.tolist(), cells.columns


class CountedCells(TrainingCells[TokenStream]):
    """Cells of counts, which are encoded when they are taken."""

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        return self._encode(self._counts(rows))

    def split(
        self, rows: NDArray[np.int64], shares: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[Ragged, Ragged]:
        first, second = split_counts(self._counts(rows), shares, rng)
        return self._encode(first), self._encode(second)

    def _read(self, source: TokenStream, start: int, stop: int) -> _Cells:
        # Several where memory ran out.
        chunks = [
            each.counts for each in source.source.chunks(stop - start, start=start, stop=stop)
        ]
        counts = chunks[0] if len(chunks) == 1 else vstack(chunks, format="csr")
        tokens = source.mapping.tokens[counts.indices]
        mapped = tokens >= 0
        ends = np.concatenate([[0], np.cumsum(mapped)])
        return _Cells(ends[counts.indptr], (tokens[mapped], counts.data[mapped]))

    def _counts(self, rows: NDArray[np.int64]) -> csr_matrix:
        """(len(rows), vocabulary.size): counts by token; variables of one gene not yet summed."""
        offsets, (tokens, counts) = self._gather(rows)
        matrix = csr_matrix((len(rows), self.vocabulary.size), dtype=np.float32)
        matrix.data, matrix.indices = counts.astype(np.float32), tokens
        matrix.indptr = offsets.astype(np.int32)
        return matrix

    def _encode(self, counts: csr_matrix) -> Ragged:
        token_of_column = np.full(self.vocabulary.size, -1, np.int32)
        token_of_column[self.vocabulary.tokens] = self.vocabulary.tokens
        return encode_rank_values(counts, token_of_column, self.vocabulary)


class TokenCells(TrainingCells[SavedTokens]):
    """Cells of which only tokens are left; their parts are parts of their genes."""

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        offsets, (tokens,) = self._gather(rows)
        return tokens, offsets

    def split(
        self, rows: NDArray[np.int64], shares: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[Ragged, Ragged]:
        return split_genes(self.take(rows), shares, self.vocabulary, rng)

    def _read(self, source: SavedTokens, start: int, stop: int) -> _Cells:
        tokens, offsets = source.cells.ragged(start, stop)
        return _Cells(offsets, (tokens,))


def gather_training_cells(sources: Sequence[TokenSource]) -> CountedCells | TokenCells:
    """Put sources end to end.

    Raises
    ------
    SettingsError
        If some hold counts and others tokens.
    """
    counted = [source for source in sources if isinstance(source, TokenStream)]
    saved = [source for source in sources if isinstance(source, SavedTokens)]
    if counted and saved:
        raise SettingsError(
            f"{counted[0].name} holds counts, and {saved[0].name} tokens.",
            "Counts in all inputs, or tokens in all, so that all cells are treated alike.",
            "Tokenize the counts first: `rankformer tokenize FILE -o FOLDER --model MODEL`.",
        )
    return CountedCells(counted) if counted else TokenCells(saved)


def tokens_in_memory(cells: CountedCells | TokenCells) -> TokenCells:
    """The same cells as tokens, which can go to another process; open files cannot."""
    parts = []
    for start in range(0, len(cells), BLOCK_CELLS):
        ragged = cells.take(np.arange(start, min(start + BLOCK_CELLS, len(cells))))
        parts.append(TokenizedCells.from_ragged(ragged))
    tokens = TokenizedCells.concatenate(parts)
    return TokenCells([SavedTokens(Path(cells.sources[0].name), tokens, cells.vocabulary)])


def _join(parts: Sequence[_Cells]) -> _Cells:
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    columns = zip(*(part.columns for part in parts), strict=True)
    return _Cells(np.cumsum([0, *lengths]), tuple(map(np.concatenate, columns)))
