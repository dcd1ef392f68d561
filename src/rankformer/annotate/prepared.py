"""The reference of a run: found or made once, over the genes that the queries have, and kept."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.kept import keep_overlap, keep_variables, kept_overlap
from rankformer.annotate.majority import expect_clusters
from rankformer.annotate.ready import reading_of_reference
from rankformer.annotate.reference import (
    Reference,
    genes_of_all,
    index_cells,
    read_groups,
    read_labels,
    with_counts,
)
from rankformer.annotate.reference_counts import RankedAnew
from rankformer.annotate.reference_files import is_saved_reference, open_reference, save_reference
from rankformer.annotate.settings import AnnotateJob, Labelling
from rankformer.annotate.shared_genes import (
    GeneOverlap,
    MeasuredGenes,
    measured_genes,
    not_shared,
    share_genes,
    tell_overlap,
)
from rankformer.annotate.vote import check_annotation
from rankformer.annotate.weighing import check_method, ways_at_hand
from rankformer.cells.open_sources import list_sources
from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.embedder import Embedder
from rankformer.embed.settings import CellMode
from rankformer.embed.vector_recipes import AnyEmbedding, open_here
from rankformer.embed.vector_runs import VectorWork
from rankformer.errors import SettingsError
from rankformer.progress import show_progress
from rankformer.results.output_checks import check_key
from rankformer.runs.options import plain_file
from rankformer.runs.sources import RunInputs
from rankformer.scratch import scratch_array, scratch_folder
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import Sources, TokenStream, opened_sources
from rankformer.vocabulary.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_NOT_WANTED = "it was asked for with share_genes=False (--all-genes)"
_TOKENS_ALONE = (
    "the saved reference holds no counts, as it was made of saved tokens or by an earlier version, "
    "so that its cells cannot be ranked among other genes; save it anew with --save-reference"
)


class ReferenceOfRun:
    """Finds or makes the reference of a run, once: it is kept with the shards.

    Attributes
    ----------
    reference
        The reference, after `prepare`.
    keys
        Label of the reference → name of the result, after `prepare`.
    overlap
        The genes that reference and queries share, after `prepare`.
    """

    reference: Reference
    keys: Mapping[str, str]

    def __init__(
        self,
        job: AnnotateJob,
        folder: Path,
        checkpoint: Checkpoint,
        options: ReadingOptions | None,
        settings: Mapping[str, Any],
    ) -> None:
        self.job, self.checkpoint, self.options = job, checkpoint, options
        self.settings, self.folder = settings, folder
        self.kept = reference_folder(folder)
        self.found = find_reference(job.references)
        self._queries: list[MeasuredGenes | None] = []
        self._overlap: GeneOverlap | None = None

    @property
    def overlap(self) -> GeneOverlap:
        assert self._overlap is not None, "prepare finds it"  # noqa: S101
        return self._overlap

    def describe(self) -> VectorWork:
        """The run, as far as the reference decides it."""
        settings = dict(self.settings)
        if isinstance(self.found, Reference):
            settings["dtype"] = self.found.settle(settings.get("dtype", "auto"))
        job = self.job
        decides = {
            "references": [plain_file(each) for each in job.references],
            "labels": list(job.labels), "keys": list(job.keys),
            "unlabelled": list(job.unlabelled), "vote": asdict(job.vote),
        }  # fmt: skip
        return VectorWork(
            task="annotate", sources=job.queries, checkpoint=self.checkpoint, mode=job.mode,
            options=self.options, embedding=settings, decides=decides,
        )  # fmt: skip

    def look(self, query: TokenSource) -> None:
        """Note which genes a query measured."""
        if self.job.vote.majority_vote is not None:
            expect_clusters(query.obs, self.job.vote.majority_vote, query.name)
        self._queries.append(measured_genes(query))
        keep_variables(self.folder, query)

    def prepare(self, embedder: AnyEmbedding, inputs: RunInputs, is_new: bool) -> None:
        """Make the reference, or open that which the run has kept; rank the queries as it is."""
        job = self.job
        if is_new and self.kept.exists():
            shutil.rmtree(self.kept)
        if is_new:
            self._make(embedder)
            keep_overlap(self.folder, self.overlap)
            tell_overlap(self.overlap, asked_for=not job.vote.share_genes)
        else:
            self._overlap = kept_overlap(self.folder)
            self.reference = self._open_again(embedder)
        if self.overlap.ranked is not None:
            inputs.rank_among(ids_of(self.checkpoint.vocabulary, self.overlap.ranked))
        self.keys = name_keys(job.labels or tuple(self.reference.codes), job.keys)
        check_annotation(self.reference, embedder, self.keys, job.mode, job.vote.vote())
        self._check_method()
        # One that goes on, and each share but the first, finds it there.
        if job.save_to is not None and (is_new or not self._is_saved(job.save_to)):
            save_reference(self.reference, job.save_to)

    def _check_method(self) -> None:
        reference = self.reference
        has_counts = reference.counts is not None and self.overlap.genes is not None
        ways = ways_at_hand(has_counts, self.job.vote.method)
        for label in self.keys:
            n_classes = len(reference.classes[label])
            check_method(self.job.vote.method, ways, reference.codes[label], n_classes)

    def _is_saved(self, folder: Path) -> bool:
        if not is_saved_reference(folder):
            return False
        saved, own = open_reference(folder), self.reference
        return saved.classes == own.classes and dict(saved.provenance) == dict(own.provenance)

    def _make(self, model: AnyEmbedding) -> None:
        if not isinstance(self.found, Reference):
            self._build(self.found, model)
            return
        self.found.check_fits(model, self.job.mode)
        _check_groups(self.found, self.job.vote)
        if self._overlap is None:
            self._overlap = overlap_of_saved(self.found, self._queries, self.job.vote)
        if is_ranked_so(self.found, self.overlap):
            self.reference = self.found
            return
        with scratch_folder(self.kept) as scratch:
            vectors = scratch_array(scratch / "vectors", self.found.index.vectors.shape)
            ranked = rank_anew(self.found, self.overlap, _here(model), vectors, self.job.mode)
            save_reference(ranked, self.kept)
        self.reference = open_reference(self.kept)

    def _open_again(self, model: AnyEmbedding) -> Reference:
        """As an earlier process of the run had it; made again where it is gone."""
        if self.kept.exists():
            return open_reference(self.kept)
        if isinstance(self.found, Reference) and is_ranked_so(self.found, self.overlap):
            return self.found
        self._make(model)
        return self.reference

    def _build(self, sources: Sequence[Any], model: AnyEmbedding) -> None:
        """Embed the reference, here also where others embed the queries."""
        job = self.job
        embedder = _here(model)
        options = reading_of_reference(sources, self.options)
        with opened_sources(sources, self.checkpoint.vocabulary, options) as opened:
            labels = read_labels(opened, job.labels, job.unlabelled)
            groups = read_groups(opened, job.vote.group)
            if self._overlap is None:
                self._overlap = overlap_of_sources(opened, self._queries, job.vote)
            ranked = ranked_among(opened, self.overlap)
            n_cells = sum(map(len, opened))
            with (
                scratch_folder(self.kept) as scratch,
                show_progress(n_cells, "Embedding the reference") as progress,
            ):
                vectors = scratch_array(scratch / "vectors", (n_cells, embedder.d_model))
                made, rows = index_cells(
                    ranked, embedder, labels, vectors, mode=job.mode, progress=progress
                )
                made = with_counts(made, ranked, rows, genes_of_all(opened), scratch / "counts")
                made = replace(made, groups=None if groups is None else groups[rows])
                save_reference(made, self.kept)
        self.reference = open_reference(self.kept)


def _here(model: AnyEmbedding) -> Embedder:
    return model if isinstance(model, Embedder) else open_here(model)


def overlap_of_sources(
    references: Sequence[TokenSource],
    queries: Sequence[MeasuredGenes | None],
    how: Labelling,
) -> GeneOverlap:
    """The genes that sources of a reference share with queries."""
    return _as_asked_for([measured_genes(each) for each in references], queries, how)


def overlap_of_saved(
    reference: Reference, queries: Sequence[MeasuredGenes | None], how: Labelling
) -> GeneOverlap:
    """The genes that a reference that is ready shares with queries."""
    if reference.counts is None:
        return not_shared(_TOKENS_ALONE if how.share_genes else _NOT_WANTED)
    return _as_asked_for([reference.counts.measured("that is saved")], queries, how)


def _as_asked_for(
    references: Sequence[MeasuredGenes | None],
    queries: Sequence[MeasuredGenes | None],
    how: Labelling,
) -> GeneOverlap:
    if how.share_genes:
        return share_genes(references, queries)
    try:
        return not_shared(_NOT_WANTED, share_genes(references, queries))
    except SettingsError:
        return not_shared(_NOT_WANTED)


def ranked_among(streams: Sequence[TokenSource], overlap: GeneOverlap) -> list[TokenSource]:
    """Sources of counts whose cells are ranked among shared genes, where some are shared."""
    if overlap.ranked is None:
        return list(streams)
    ranked: list[TokenSource] = []
    for each in streams:
        assert isinstance(each, TokenStream)  # noqa: S101
        only = ids_of(each.vocabulary, overlap.ranked)
        ranked.append(replace(each, options=replace(each.options, only_genes=only)))
    return ranked


def ids_of(vocabulary: Vocabulary, genes: NDArray[np.int32]) -> frozenset[str]:
    """Ensembl ids of tokens."""
    places = np.searchsorted(vocabulary.tokens, genes)
    return frozenset(vocabulary.ensembl_ids[place] for place in places)


def is_ranked_so(reference: Reference, overlap: GeneOverlap) -> bool:
    """Whether a reference is ranked among just the shared genes, or nothing is to be shared."""
    if overlap.ranked is None:
        return True
    return reference.ranked is not None and np.array_equal(reference.ranked, overlap.ranked)


def rank_anew(
    reference: Reference,
    overlap: GeneOverlap,
    embedder: Embedder,
    vectors: NDArray[np.float32],
    mode: CellMode,
) -> Reference:
    """Embed the cells of a reference again, ranked among the shared genes alone.

    Parameters
    ----------
    reference
        With counts.
    overlap
        The shared genes.
    embedder, mode
        That made its vectors.
    vectors
        (n_cells, d_model) float32, written to.
    """
    assert reference.counts is not None  # noqa: S101
    assert overlap.ranked is not None  # noqa: S101
    logger.info(
        "The reference was ranked among other genes: its %s cells are embedded again.",
        f"{len(reference):,}",
    )
    cells = RankedAnew(
        reference.counts, embedder.checkpoint.vocabulary, overlap.ranked, len(reference)
    )
    labels = {
        name: np.array(reference.classes[name], dtype=object)[codes]
        for name, codes in reference.codes.items()
    }
    with show_progress(len(reference), "Embedding the reference") as progress:
        made, rows = index_cells([cells], embedder, labels, vectors, mode=mode, progress=progress)
    counts = reference.counts
    if len(rows) < len(reference):
        counts = replace(counts, kept=counts.rows(rows))
    groups = None if reference.groups is None else reference.groups[rows]
    return replace(
        made, provenance=reference.provenance, counts=counts, ranked=overlap.ranked, groups=groups
    )


def _check_groups(reference: Reference, how: Labelling) -> None:
    if how.group is not None and reference.groups is None:
        raise SettingsError(
            f"The saved reference has no donors or batches, and {how.group} was asked for.",
            "A reference that was saved with them, or no group.",
            "Leave group (--group) out, or build the reference anew with --group and "
            "--save-reference.",
        )


def reference_folder(folder: Path) -> Path:
    """Where a run keeps its reference."""
    return folder / "reference"


def find_reference(
    given: Reference | Sources,
) -> Reference | Sequence[Any]:
    """A reference that is ready or saved; or else the sources to build one from."""
    if isinstance(given, Reference):
        return given
    sources = list_sources(given)
    saved = [each for each in sources if is_saved_reference(each)]
    if saved and len(sources) > 1:
        raise SettingsError(
            f"{len(sources)} references were given, and {saved[0]} is a saved one.",
            "One saved reference, or files of counts.",
            "Give the saved reference alone.",
        )
    return open_reference(saved[0]) if saved else sources


def name_keys(labels: Sequence[str], keys: Sequence[str] = ()) -> dict[str, str]:
    """Label → name of its result.

    Raises
    ------
    SettingsError
        If there are not as many names as labels, or obs cannot have one.
    """
    if keys and len(keys) != len(labels):
        raise SettingsError(
            f"{len(keys)} names were given for {len(labels)} labels.",
            "A name for each label, or none.",
            "Correct key_added (--key), or leave it out.",
        )
    names = dict(zip(labels, keys or [f"predicted_{each}" for each in labels], strict=True))
    for name in names.values():
        check_key(name, "obs", "predicted_cell_type")
    return names
