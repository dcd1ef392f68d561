"""Annotation in memory: cells and a reference in, labels out."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import closing

import numpy as np

from rankformer.annotate.harmony import expect_integration
from rankformer.annotate.naming import Query, name_cells
from rankformer.annotate.prepared import (
    ids_of,
    is_ranked_so,
    overlap_of_saved,
    rank_anew,
    ranked_among,
)
from rankformer.annotate.profiles import OpenCounts
from rankformer.annotate.ready import reading_of_reference
from rankformer.annotate.reference import Reference
from rankformer.annotate.reference_files import open_reference
from rankformer.annotate.settings import Labelling, NeighbourVote, as_labelling
from rankformer.annotate.shared_genes import (
    GeneOverlap,
    measured_genes,
    share_genes,
    tell_overlap,
)
from rankformer.annotate.vote import check_annotation
from rankformer.embed.cells import describe_run, fill_vectors, tell_missing
from rankformer.embed.embedder import AnyEmbedder, Embedder, open_embedder
from rankformer.embed.likeness import tell_alike
from rankformer.embed.settings import CellMode
from rankformer.progress import Progress
from rankformer.quiet_loggers import quiet_loggers
from rankformer.results.cell_labels import LabelledCells
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import Source, TokenStream, open_tokens, opened_sources


def annotate_cells(
    source: Source,
    reference: Reference | str | os.PathLike[str],
    embedder: AnyEmbedder,
    keys: Mapping[str, str],
    *,
    mode: CellMode = "cell",
    vote: NeighbourVote | Labelling | None = None,
    options: ReadingOptions | None = None,
    progress: Progress | None = None,
) -> LabelledCells:
    """Embed the cells of a source, and give them labels of a reference; see `Labelling`.

    Parameters
    ----------
    source
        AnnData, or a file or folder of counts.
    reference
        Labelled cells, embedded by the same model; or the folder that `save_reference` made. Where
        it was ranked among genes that the source lacks, its cells are embedded again.
    embedder
        The model, ready; or its name or folder.
    keys
        Label of the reference → name of the result.
    mode
        ``"cell"`` or ``"cls"``, as the reference.
    vote
        How labels are decided: a `Labelling`; or a `NeighbourVote`, by which neighbours in the
        embedding decide, with its limits.
    options
        Where counts and genes lie.
    progress
        Called with the number of cells done since the last call.

    Raises
    ------
    RankformerError
        If source, reference, model and settings do not go together.

    Examples
    --------
    >>> import rankformer
    >>> embedder = rankformer.Embedder("gf-12L-95M-i4096")
    >>> reference = rankformer.build_reference("pbmc.h5ad", embedder, ["cell_type"])
    >>> cells = rankformer.annotate_cells(
    ...     "pbmc.h5ad", reference, embedder, {"cell_type": "predicted"}
    ... )
    >>> labels = cells.labels["predicted"].values
    """
    how = as_labelling(vote)
    expect_integration(how.integrate)
    reference = reference if isinstance(reference, Reference) else open_reference(reference)
    embedder = open_embedder(embedder, dtype=reference.settle("auto"))
    check_annotation(reference, embedder, keys, mode, how.vote())
    with closing(open_tokens(source, embedder.checkpoint.vocabulary, options)) as stream:
        overlap = _find_overlap(stream, reference, how)
        ranked = _rank_as(reference, overlap, embedder, mode)
        (query,) = ranked_among([stream], overlap)
        vectors = np.full((len(query), embedder.d_model), np.nan, np.float32)
        missing = fill_vectors(vectors, [query], embedder, mode=mode, progress=progress)
        tell_missing(missing)
        tell_alike(vectors)
        provenance = describe_run(embedder, mode, [query])
        counts = None if overlap.genes is None else OpenCounts([stream], overlap.genes)
        named = Query(vectors, missing, stream.obs, counts)
        labels = name_cells(named, ranked, keys, how, overlap)
    provenance["shared_genes"] = overlap.told
    return LabelledCells(labels, missing, stream.obs, provenance)


def shared_genes_of(
    references: Sequence[Source],
    query: Source,
    embedder: Embedder,
    options: ReadingOptions | None = None,
) -> frozenset[str] | None:
    """Ensembl ids of the genes that all references and a query measured.

    Parameters
    ----------
    references, query
        AnnData, or files or folders of counts.
    embedder
        Whose vocabulary is meant.
    options
        Where counts and genes lie; in a reference that ships, they lie as it says itself.

    Returns
    -------
    For `ReadingOptions.only_genes`; None where one of the sources is known as tokens alone.

    Raises
    ------
    SettingsError
        If there are none.
    """
    vocabulary = embedder.checkpoint.vocabulary
    # All of them are opened again, and then it is told what they hold.
    with (
        quiet_loggers(
            "rankformer.cells", "rankformer.genes", "rankformer.tokens", level=logging.ERROR
        ),
        opened_sources(references, vocabulary, reading_of_reference(references, options)) as own,
        opened_sources([query], vocabulary, options) as asked,
    ):
        measured = [[measured_genes(each) for each in opened] for opened in (own, asked)]
    genes = share_genes(*measured).genes
    return None if genes is None else ids_of(vocabulary, genes)


def _find_overlap(query: TokenStream, reference: Reference, how: Labelling) -> GeneOverlap:
    overlap = overlap_of_saved(reference, [measured_genes(query)], how)
    tell_overlap(overlap, asked_for=not how.share_genes)
    return overlap


def _rank_as(
    reference: Reference, overlap: GeneOverlap, embedder: Embedder, mode: CellMode
) -> Reference:
    if is_ranked_so(reference, overlap):
        return reference
    vectors = np.empty(reference.index.vectors.shape, np.float32)
    return rank_anew(reference, overlap, embedder, vectors, mode)
