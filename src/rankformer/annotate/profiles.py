"""Cells as the ways of naming them see them: by their embedding, and by their expression."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from rankformer.annotate.shared_genes import counts_of_genes
from rankformer.cells.normalise import log_normalise
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import TokenStream, open_counts, read_kept


@dataclass(frozen=True, eq=False)
class Profiles:
    """Some cells.

    Attributes
    ----------
    vectors
        (n_cells, d_model) float32 of length 1.
    expression
        (n_cells, n_genes) CSR float32: log-normalised counts of the genes that reference and query
        share; None where counts are not known.
    """

    vectors: NDArray[np.float32]
    expression: csr_matrix | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: NDArray[np.int64] | slice) -> "Profiles":
        """Some of them."""
        own = None if self.expression is None else self.expression[rows]
        return Profiles(self.vectors[rows], own)


class QueryCounts(Protocol):
    """Counts of the cells of a query, read as they are asked for."""

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], csr_matrix]]:
        """Rows of the query, ascending, and (n, n_genes) counts of the shared genes."""
        ...


@dataclass(frozen=True, eq=False)
class OpenCounts:
    """Of sources that are open, one after the other.

    Attributes
    ----------
    streams
        The sources.
    genes
        Tokens of the genes, ascending.
    """

    streams: Sequence[TokenStream]
    genes: NDArray[np.int32]

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], csr_matrix]]:
        first = 0
        for stream in self.streams:
            with closing(read_kept(stream.source, stream.options)) as parts:
                for rows, counts in parts:
                    yield rows + first, counts_of_genes(counts, stream.mapping.tokens, self.genes)
            first += len(stream)


@dataclass(frozen=True, eq=False)
class FileOfCounts:
    """Cells of a file, in parts, that is opened when it is read.

    Attributes
    ----------
    path
        Of the file.
    options
        Where its counts are.
    tokens
        (n_vars,) which gene each variable is.
    parts
        First row, and the row behind the last, of each part that is wanted.
    """

    path: Path
    options: ReadingOptions
    tokens: NDArray[np.int32]
    parts: Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class ClosedCounts:
    """Of files, one after the other, that are opened one at a time.

    Attributes
    ----------
    files
        With the parts of each that are wanted: cells are counted over these.
    genes
        Tokens of the genes, ascending.
    """

    files: Sequence[FileOfCounts]
    genes: NDArray[np.int32]

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], csr_matrix]]:
        first = 0
        for file in self.files:
            with closing(open_counts(file.path, file.options)) as cells:
                for start, stop in file.parts:
                    with closing(read_kept(cells, file.options, start, stop)) as parts:
                        for rows, counts in parts:
                            own = counts_of_genes(counts, file.tokens, self.genes)
                            yield rows - start + first, own
                    first += stop - start


def some_expression(counts: QueryCounts, rows: NDArray[np.int64]) -> csr_matrix:
    """Log-normalised counts of some cells, ascending, in memory."""
    found = []
    for own, block in counts.blocks():
        wanted = np.isin(own, rows)
        if wanted.any():
            found.append(block[wanted])
    return log_normalise(vstack(found, format="csr"))
