"""Embeddings of the cells and genes of a source, in its order, with where they came from."""

import logging
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.embed.batches import CellBatch
from rankformer.embed.embedder import AnyEmbedder, Embedder, open_embedder
from rankformer.embed.likeness import tell_alike
from rankformer.embed.settings import CellMode
from rankformer.embed.settled_model import SettledModel
from rankformer.errors import TokensError
from rankformer.progress import Progress
from rankformer.ragged import Ragged
from rankformer.read_ahead import read_ahead
from rankformer.results.cell_embeddings import CellEmbeddings
from rankformer.results.gene_embeddings import GeneVectors
from rankformer.scratch import release_pages
from rankformer.tokens.filtered_cells import FILTERED
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenPart, TokenSource
from rankformer.tokens.tokenize import NO_GENES, Source, open_tokens, tell_full_inputs

logger = logging.getLogger(__name__)


def embed_cells(
    source: Source,
    embedder: AnyEmbedder,
    *,
    mode: CellMode = "cell",
    options: ReadingOptions | None = None,
    progress: Progress | None = None,
) -> CellEmbeddings:
    """Embed all cells of a source into memory.

    Parameters
    ----------
    source
        AnnData, or a file or folder of counts.
    embedder
        The model, ready; or its name or folder.
    mode
        ``"cell"``: mean over the cell's gene tokens. ``"cls"``: the ``<cls>`` vector (V2 only).
    options
        Where counts and genes lie.
    progress
        Called with the number of cells done since the last call.

    Returns
    -------
    Their vectors; how many cells have none is logged.

    Raises
    ------
    RankformerError
        If source, model and settings do not go together.

    Examples
    --------
    >>> import rankformer
    >>> embeddings = rankformer.embed_cells("pbmc.h5ad", "gf-12L-95M-i4096")
    >>> len(embeddings.vectors), embeddings.vectors.dtype.name
    (30, 'float32')
    """
    embedder = open_embedder(embedder)
    embedder.check_mode(mode)
    with closing(open_tokens(source, embedder.checkpoint.vocabulary, options)) as stream:
        vectors = np.full((len(stream), embedder.d_model), np.nan, np.float32)
        missing = fill_vectors(vectors, [stream], embedder, mode=mode, progress=progress)
        provenance = describe_run(embedder, mode, [stream])
    tell_missing(missing)
    tell_alike(vectors)
    return CellEmbeddings(vectors, missing, stream.obs, provenance)


def fill_vectors(
    vectors: NDArray[np.float32],
    streams: Sequence[TokenSource],
    embedder: Embedder,
    *,
    mode: CellMode,
    progress: Progress | None = None,
) -> NDArray[np.object_]:
    """Write the vector of each cell to its row, source after source; say which have none, and why.

    Returns
    -------
    (n_cells,) object: a reason, or None. The rows of cells with a reason become NaN.
    """
    ends = np.cumsum([0, *map(len, streams)]).tolist()
    filled = [
        _fill_own(vectors[start:stop], stream, embedder, mode, progress)
        for start, stop, stream in zip(ends, ends[1:], streams, strict=False)
    ]
    input_length = embedder.checkpoint.vocabulary.input_length
    tell_full_inputs(sum(n_full for _, n_full in filled), ends[-1], input_length)
    return np.concatenate([missing for missing, _ in filled])


def _fill_own(
    vectors: NDArray[np.float32],
    stream: TokenSource,
    embedder: Embedder,
    mode: CellMode,
    progress: Progress | None,
) -> tuple[NDArray[np.object_], int]:
    """Why cells have no vector, and how many of the others fill the model's input."""
    check_fits(stream, embedder)
    missing = filtered_out(stream)
    vectors[~stream.kept] = np.nan
    n_full, input_length = 0, embedder.checkpoint.vocabulary.input_length
    in_use: TokenPart | None = None
    with (
        read_ahead(stream.parts()) as parts,
        closing(embedder.stream_cells(parts, tokens_of, mode, len(stream))) as batches,
    ):
        for part, start, stop, batch in batches:
            if part is not in_use:
                release_pages(vectors)
                in_use = part
            if batch is None:
                continue
            put_vectors(vectors, missing, part.rows[start:stop], batch)
            n_full += int((batch.lengths >= input_length).sum())
            if progress:
                progress(stop - start)
    release_pages(vectors)
    return missing, n_full


def tokens_of(part: TokenPart) -> Ragged:
    """The tokens of the cells of a part."""
    return part.cells.ragged(0, len(part.rows))


def put_vectors(
    vectors: NDArray[np.float32],
    missing: NDArray[np.object_],
    rows: NDArray[np.int64],
    batch: CellBatch,
) -> None:
    """Write the vectors of a batch to their rows.

    Parameters
    ----------
    vectors
        (n_cells, d_model) float32, written to.
    missing
        (n_cells,) object: gets why a cell of the batch has no vector.
    rows
        Of both, one a cell of the batch.
    batch
        The vectors.
    """
    pooled = batch.vectors()
    vectors[rows] = pooled
    missing[rows[np.isnan(pooled[:, 0])]] = NO_GENES


def iterate_gene_vectors(
    stream: TokenSource, embedder: Embedder, progress: Progress | None = None
) -> Generator[tuple[NDArray[np.int64], GeneVectors], None, None]:
    """Vectors of all gene tokens of a source, some cells at a time, with the cells' rows.

    At the end, cells without a gene token are told.
    """
    check_fits(stream, embedder)
    missing = filtered_out(stream)
    with (
        read_ahead(stream.parts()) as parts,
        closing(embedder.stream_genes(parts, tokens_of, len(stream))) as batches,
    ):
        for part, start, stop, batch in batches:
            if batch is None:
                continue
            rows = part.rows[start:stop]
            missing[rows[batch.is_empty]] = NO_GENES
            yield rows, batch.vectors(start)
            if progress:
                progress(stop - start)
    tell_missing(missing)


def check_fits(stream: TokenSource, embedder: Embedder) -> None:
    """Refuse tokens of another vocabulary than the embedder's: each would mean another gene.

    Raises
    ------
    TokensError
        If they are.
    """
    own, theirs = embedder.checkpoint.vocabulary, stream.vocabulary
    if own.sha256 != theirs.sha256:
        raise TokensError(
            f"The tokens of {stream.name} are of the vocabulary {theirs.name} "
            f"({theirs.sha256[:8]}).",
            f"The model's vocabulary {own.name} ({own.sha256[:8]}).",
            "Open the source with embedder.checkpoint.vocabulary.",
        )


def tell_missing(missing: NDArray[np.object_]) -> None:
    """Log how many cells have no embedding, for each reason."""
    tell_counts(count_missing(missing), len(missing))


def count_missing(missing: NDArray[np.object_]) -> "Counter[str]":
    """Reason → how many cells have no embedding for it."""
    return Counter(each for each in missing if each)


def tell_counts(counts: "Counter[str]", n_cells: int) -> None:
    """Log how many of some cells have no embedding, for each reason."""
    for reason, n_missing in counts.items():
        logger.warning(
            "%s of %s cells have no embedding: %s.", f"{n_missing:,}", f"{n_cells:,}", reason
        )


def filtered_out(stream: TokenSource, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """(n,) object: why cells have no embedding that were filtered out; None for the others."""
    kept = stream.kept[start:stop]
    missing = np.full(len(kept), None, dtype=object)
    missing[~kept] = FILTERED
    return missing


def describe_run(embedder: Embedder, mode: str, streams: Iterable[TokenSource]) -> dict[str, Any]:
    """Provenance of a result: nested plain values that AnnData, JSON and Parquet can store."""
    sources = {str(i): stream.provenance() for i, stream in enumerate(streams)}
    return {**describe_model(embedder, mode), "sources": sources}


def describe_model(embedder: Embedder | SettledModel, mode: str) -> dict[str, Any]:
    """The part of it that is of the model: which, of what precision, and by which versions."""
    return {
        **embedder.checkpoint.provenance(),
        "mode": mode,
        "layer": embedder.layer,
        "dtype": embedder.precision,
        "device": embedder.device.type,
        "versions": {name: version(name) for name in ("rankformer", "torch", "numpy", "anndata")},
    }
