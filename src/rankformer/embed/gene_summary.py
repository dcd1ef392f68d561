"""Summaries of gene vectors over cells: exact mean and exact median, in bounded memory."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from rankformer.embed.cells import check_fits, iterate_gene_vectors
from rankformer.embed.embedder import AnyEmbedder, Embedder, open_embedder
from rankformer.embed.settings import Statistic
from rankformer.errors import OutputError, SettingsError, expect_type
from rankformer.progress import Progress
from rankformer.results.gene_embeddings import GeneSummary, GeneVectors
from rankformer.scratch import release_pages, scratch_array
from rankformer.tokens.token_sources import SavedTokens, TokenSource
from rankformer.tokens.tokenize import TokenStream
from rankformer.vocabulary.vocabulary import Vocabulary

_MEDIAN_BLOCK_BYTES = 64 * 2**20


def summarize_genes(
    streams: TokenSource | Sequence[TokenSource],
    embedder: AnyEmbedder,
    *,
    statistic: Statistic = "mean",
    scratch_folder: Path | None = None,
    progress: Progress | None = None,
) -> GeneSummary:
    """Summarize each gene's vectors over the cells that have it.

    The mean is summed in float64. The median, dimension by dimension, needs all vectors: they are
    laid out by gene in one temporary file of 4 * d_model bytes a token, and taken gene by gene.

    Parameters
    ----------
    streams
        Cells that `open_tokens` opened, of one source or several.
    embedder
        The model, ready; or its name or folder.
    statistic
        ``"mean"`` or ``"median"``.
    scratch_folder
        Where the temporary file lies; the system's folder unless given.
    progress
        Called with the number of cells done since the last call.

    Raises
    ------
    TokensError
        If the tokens are not of the embedder's vocabulary.
    SettingsError
        If there is no such statistic.
    OutputError
        If the temporary file does not fit on the disk.

    Examples
    --------
    >>> import rankformer
    >>> stream = rankformer.open_tokens("pbmc.h5ad", "gf-12L-95M-i4096")
    >>> summary = rankformer.summarize_genes(stream, "gf-12L-95M-i4096", statistic="mean")
    >>> len(summary.ensembl_ids) == len(summary.vectors)
    True
    """
    if statistic not in get_args(Statistic):
        raise SettingsError(
            f"The statistic {statistic!r} was asked for.",
            f"One of {', '.join(map(repr, get_args(Statistic)))}.",
            "Correct statistic (--summary).",
        )
    streams = streams if isinstance(streams, Sequence) else [streams]
    for stream in streams:
        expect_type(
            stream, (TokenStream, SavedTokens), "A source of tokens", "What open_tokens gives.",
            "Pass rankformer.open_tokens(cells, vocabulary).",
        )  # fmt: skip
    embedder = open_embedder(embedder)
    for stream in streams:
        check_fits(stream, embedder)
    if statistic == "mean":
        n_cells, vectors = _mean(streams, embedder, progress)
    else:
        n_cells = count_cells_of_tokens(_tokens_of(streams), embedder.checkpoint.vocabulary)
        with tempfile.TemporaryDirectory(dir=scratch_folder, prefix="rankformer-") as folder:
            vectors = _median(streams, embedder, n_cells, Path(folder), progress)
    present = np.flatnonzero(n_cells)
    ids = embedder.checkpoint.vocabulary.ensembl_id_of[present]
    return GeneSummary(ids, n_cells[present], vectors[present])


def count_cells_of_tokens(
    parts: Iterable[NDArray[np.int32]], vocabulary: Vocabulary
) -> NDArray[np.int64]:
    """For each gene token, in how many cells it is; (vocabulary.size,), 0 for special tokens.

    Parameters
    ----------
    parts
        Tokens of cells, end to end, each at most once a cell.
    vocabulary
        What they are of.
    """
    counts = np.zeros(vocabulary.size, np.int64)
    for values in parts:
        counts += np.bincount(values, minlength=len(counts))
    counts[list(vocabulary.special_tokens.values())] = 0
    return counts


def _tokens_of(streams: Sequence[TokenSource]) -> Iterator[NDArray[np.int32]]:
    for stream in streams:
        for part in stream.parts():
            for values, _ in part.cells.ragged_chunks():
                yield values


def _gene_vectors(
    streams: Sequence[TokenSource], embedder: Embedder, progress: Progress | None
) -> Iterator[GeneVectors]:
    for stream in streams:
        for _, genes in iterate_gene_vectors(stream, embedder, progress):
            yield genes


def _mean(
    streams: Sequence[TokenSource], embedder: Embedder, progress: Progress | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    size = embedder.checkpoint.vocabulary.size
    n_cells = np.zeros(size, np.int64)
    sums = np.zeros((size, embedder.d_model))
    for genes in _gene_vectors(streams, embedder, progress):
        np.add.at(n_cells, genes.tokens, 1)
        np.add.at(sums, genes.tokens, genes.vectors)
    return n_cells, (sums / np.maximum(n_cells, 1)[:, None]).astype(np.float32)


def _median(
    streams: Sequence[TokenSource],
    embedder: Embedder,
    n_cells: NDArray[np.int64],
    folder: Path,
    progress: Progress | None,
) -> NDArray[np.float32]:
    starts = np.concatenate([[0], np.cumsum(n_cells)])
    by_gene = _scratch(folder, (int(starts[-1]), embedder.d_model))
    at = starts[:-1].copy()
    for genes in _gene_vectors(streams, embedder, progress):
        by_gene[next_places(genes.tokens, at)] = genes.vectors
        release_pages(by_gene)
    medians = np.zeros((len(n_cells), embedder.d_model), np.float32)
    for token in np.flatnonzero(n_cells):
        medians[token] = _median_of_rows(by_gene[starts[token] : starts[token + 1]])
        release_pages(by_gene)
    return medians


def next_places(tokens: NDArray[np.int32], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where vectors go that are laid out by gene.

    Parameters
    ----------
    tokens
        (n,) the gene of each vector.
    at
        (vocabulary.size,) where the next one of a gene goes; moved on.
    """
    order = np.argsort(tokens, kind="stable")
    found, counts = np.unique(tokens, return_counts=True)
    within = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.empty(len(order), np.int64)
    places[order] = np.repeat(at[found], counts) + within
    at[found] += counts
    return places


def _median_of_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    width = max(1, _MEDIAN_BLOCK_BYTES // (4 * len(rows)))
    blocks = [np.median(rows[:, i : i + width], axis=0) for i in range(0, rows.shape[1], width)]
    return np.concatenate(blocks)


def _scratch(folder: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    needed, free = 4 * shape[0] * shape[1], shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"The median needs {needed / 1e9:,.1f} GB of temporary disk in {folder.parent}, which "
            f"has {free / 1e9:,.1f} GB free.",
            "4 bytes for each dimension of each token.",
            "Set TMPDIR to a larger disk, take fewer cells, or use the mean.",
        )
    return scratch_array(folder / "vectors", shape)
