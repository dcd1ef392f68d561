"""The cells of sources that take part in a run: drawn, and read some at a time."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rankformer.embed.embedder import Embedder
from rankformer.embed.gene_summary import count_cells_of_tokens
from rankformer.perturb.exact import blocks_of_cells
from rankformer.ragged import Ragged, select_rows
from rankformer.read_ahead import read_ahead
from rankformer.tokens.token_sources import TokenPart, TokenSource

Block = tuple[NDArray[np.int64], Ragged]
"""Rows of cells, and their tokens."""


def draw_cells(
    eligible: Sequence[NDArray[np.bool_]], n_cells: int | None, seed: int
) -> list[NDArray[np.int64]]:
    """Rows of the cells that take part, source by source.

    Parameters
    ----------
    eligible
        Which cells may, source by source.
    n_cells
        So many are drawn, where there are more; all unless given.
    seed
        Decides which.
    """
    rows = np.flatnonzero(np.concatenate(eligible))
    if n_cells is not None and n_cells < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, n_cells, replace=False))
    ends = np.cumsum([0, *map(len, eligible)])
    return [
        rows[(rows >= start) & (rows < stop)] - start for start, stop in pairwise(ends.tolist())
    ]


def draw_again(
    chosen: Sequence[NDArray[np.int64]], n_rows: Sequence[int], n_cells: int | None, seed: int
) -> list[NDArray[np.int64]]:
    """As `draw_cells`, among rows of sources of `n_rows` cells that were chosen before."""
    eligible = []
    for rows, n_own in zip(chosen, n_rows, strict=True):
        mask = np.zeros(n_own, bool)
        mask[rows] = True
        eligible.append(mask)
    return draw_cells(eligible, n_cells, seed)


def read_blocks(
    streams: Sequence[TokenSource], chosen: Sequence[NDArray[np.int64]], embedder: Embedder
) -> Generator[Block, None, None]:
    """Chosen cells, as many at a time as `blocks_of_cells` allows.

    Yields
    ------
    Their rows, counted over all sources, and their tokens.
    """
    first = 0
    for stream, own_rows in zip(streams, chosen, strict=True):
        with closing(stream.parts()) as own, read_ahead(own) as parts:
            yield from choose_blocks(parts, own_rows, embedder, first)
        first += len(stream)


def choose_blocks(
    parts: Iterable[TokenPart], chosen: NDArray[np.int64], embedder: Embedder, first: int
) -> Generator[Block, None, None]:
    """The chosen ones among cells that come; see `read_blocks`.

    Parameters
    ----------
    parts
        Cells of one source.
    chosen
        Rows of the source, ascending; others may be among them.
    embedder
        Its memory is that for which blocks are cut.
    first
        What is added to rows, to count over all sources.
    """
    for part in parts:
        if not len(part.rows):
            continue
        first_own, behind = np.searchsorted(chosen, [part.rows[0], part.rows[-1] + 1])
        places = np.flatnonzero(np.isin(part.rows, chosen[first_own:behind], assume_unique=True))
        ragged = select_rows(part.cells.ragged(0, len(part.rows)), places)
        rows = first + part.rows[places]
        for start, stop in blocks_of_cells(ragged[1], embedder):
            yield rows[start:stop], select_rows(ragged, np.arange(start, stop))


def count_cells_with_genes(
    streams: Sequence[TokenSource], chosen: Sequence[NDArray[np.int64]], embedder: Embedder
) -> NDArray[np.int64]:
    """In how many of the cells each gene token is; (vocabulary.size,), 0 for special tokens."""
    tokens = (values for _, (values, _) in read_blocks(streams, chosen, embedder))
    return count_cells_of_tokens(tokens, embedder.checkpoint.vocabulary)
