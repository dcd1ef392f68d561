"""Counts of the cells of a reference, kept so that they can be ranked among other genes."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from rankformer.annotate.shared_genes import CELLS_LOOKED_AT, MeasuredGenes, counts_of_genes
from rankformer.errors import SettingsError
from rankformer.tokens.rank_value import encode_rank_values
from rankformer.tokens.token_sources import TokenPart
from rankformer.tokens.tokenize import TokenStream, read_kept
from rankformer.tokens.tokenized_cells import TokenizedCells
from rankformer.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Generator

logger = logging.getLogger(__name__)

_CELLS_AT_ONCE = 2048
_GENES, _VALUES = "genes", "counts"


@dataclass(frozen=True, eq=False)
class ReferenceCounts:
    """Counts of the cells of a reference, in memory or on the disk.

    Attributes
    ----------
    genes
        Tokens of the genes that all of its sources measured, ascending.
    kept
        (n_cells, n_genes) CSR float32; or a Parquet file with a row for each cell: the places of
        its genes among these, and its counts of them.
    """

    genes: NDArray[np.int32]
    kept: csr_matrix | Path

    def blocks(self) -> Iterator[csr_matrix]:
        """All cells in order, some at a time."""
        if not isinstance(self.kept, Path):
            for start in range(0, self.kept.shape[0], _CELLS_AT_ONCE):
                yield self.kept[start : start + _CELLS_AT_ONCE]
            return
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.kept, page_checksum_verification=True) as opened:
            for index in range(opened.num_row_groups):
                # Damaged bytes make Arrow and scipy raise errors of many kinds.
                try:
                    block = _as_matrix(opened.read_row_group(index), len(self.genes))
                except Exception as error:
                    raise SettingsError(
                        f"The counts of the reference, {self.kept}, cannot be read: "
                        f"{type(error).__name__}: {error}".splitlines()[0][:300]
                        + ".",
                        "A file as `rankformer annotate --save-reference` wrote it.",
                        "Copy the reference again from where it was made, or build it anew.",
                    ) from error
                yield block

    def rows(self, rows: NDArray[np.int64]) -> csr_matrix:
        """Some cells, ascending, in memory."""
        if not isinstance(self.kept, Path):
            return csr_matrix(self.kept[rows])
        found, start = [], 0
        for block in self.blocks():
            own = rows[(rows >= start) & (rows < start + block.shape[0])] - start
            found.append(block[own])
            start += block.shape[0]
        return vstack(found, format="csr")

    def measured(self, name: str) -> MeasuredGenes:
        """As of a source that is open."""
        first = next(self.blocks())[:CELLS_LOOKED_AT]
        return MeasuredGenes(name, self.genes, np.asarray(first.sum(axis=0)).ravel())

    def save(self, path: Path) -> None:
        """Write it as a Parquet file."""
        write_counts(path, self.blocks())


def write_counts(path: Path, blocks: Iterable[csr_matrix]) -> None:
    """Write counts of cells, some at a time.

    Parameters
    ----------
    path
        The Parquet file.
    blocks
        (n, n_genes) CSR, in canonical form.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema({_GENES: pa.list_(pa.int32()), _VALUES: pa.list_(pa.float32())})
    with pq.ParquetWriter(
        path, schema, compression="zstd", write_page_checksum=True,
    ) as writer:  # fmt: skip
        for block in blocks:
            offsets = pa.array(block.indptr.astype(np.int32))
            columns = [
                pa.ListArray.from_arrays(offsets, pa.array(values))
                for values in (block.indices.astype(np.int32), block.data.astype(np.float32))
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def blocks_of_sources(
    streams: Sequence[TokenStream], genes: NDArray[np.int32], rows: NDArray[np.int64]
) -> Iterator[csr_matrix]:
    """Counts of some cells of sources that are read as one, some at a time.

    Parameters
    ----------
    streams
        One after the other.
    genes
        Tokens, ascending.
    rows
        Cells, ascending, counted over all sources.
    """
    first = 0
    for stream in streams:
        for own, counts in read_kept(stream.source, stream.options):
            wanted = np.isin(own + first, rows)
            if wanted.any():
                yield counts_of_genes(counts[wanted], stream.mapping.tokens, genes)
        first += len(stream)


@dataclass(frozen=True, eq=False)
class RankedAnew:
    """The cells of a reference as tokens, ranked among some of its genes: a `TokenSource`.

    Attributes
    ----------
    counts
        Of its cells.
    vocabulary
        That their genes are of.
    only
        Tokens of the genes to rank, ascending.
    """

    counts: ReferenceCounts
    vocabulary: Vocabulary
    only: NDArray[np.int32]
    n_cells: int

    name = "the saved reference"
    path: Path | None = None

    @property
    def obs(self) -> pd.DataFrame:
        return pd.DataFrame(index=pd.RangeIndex(self.n_cells).astype(str))

    @property
    def kept(self) -> NDArray[np.bool_]:
        return np.ones(self.n_cells, bool)

    def __len__(self) -> int:
        return self.n_cells

    def names(self, start: int, stop: int) -> NDArray[np.object_]:
        return np.array([str(row) for row in range(start, stop)], dtype=object)

    def parts(self, start: int = 0, stop: int | None = None) -> "Generator[TokenPart, None, None]":
        own = self.counts.genes
        tokens = np.where(np.isin(own, self.only), own, np.int32(-1)).astype(np.int32)
        first, last = 0, self.n_cells if stop is None else stop
        for block in self.counts.blocks():
            rows = np.arange(first, first + block.shape[0])
            asked = (rows >= start) & (rows < last)
            if asked.any():
                ragged = encode_rank_values(block[asked], tokens, self.vocabulary)
                yield TokenPart(rows[asked], TokenizedCells.from_ragged(ragged))
            first += block.shape[0]

    def provenance(self) -> dict[str, Any]:
        return {"source": self.name}

    def close(self) -> None:
        """Nothing: the counts are read as they are asked for."""


def _as_matrix(table: Any, n_genes: int) -> csr_matrix:
    genes, values = (table[name].combine_chunks() for name in (_GENES, _VALUES))
    # A column of one row group is one chunk; its offsets begin at zero.
    offsets = genes.offsets.to_numpy()
    indices, data = (each.flatten().to_numpy(zero_copy_only=False) for each in (genes, values))
    matrix = csr_matrix((data, indices, offsets - offsets[0]), shape=(table.num_rows, n_genes))
    matrix.check_format(full_check=True)
    return matrix
