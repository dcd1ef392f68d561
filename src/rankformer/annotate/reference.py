"""A reference for label transfer: embedded cells with labels, and an index of their neighbours."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import vstack

from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit
from rankformer.annotate.reference_counts import (
    ReferenceCounts,
    blocks_of_sources,
    write_counts,
)
from rankformer.cells.obs_columns import expect_classes, leave_out, read_class_names
from rankformer.embed.cells import describe_run, fill_vectors, tell_missing
from rankformer.embed.embedder import AnyEmbedder, Embedder, open_embedder
from rankformer.embed.settings import CellMode
from rankformer.embed.settled_model import SettledModel
from rankformer.errors import CheckpointError, SettingsError
from rankformer.names import as_names
from rankformer.progress import Progress
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import Sources, TokenStream, opened_sources

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"
_ROWS_AT_ONCE = 8192
_ANOTHER_LABEL = "Choose another column as label (--label)."
# What binds a reference to a model → the option that chooses it.
_BINDING = {
    "weights_sha256": "--model",
    "vocabulary_sha256": "--model",
    "mode": "--mode",
    "layer": "--emb-layer",
    "dtype": "--dtype",
}


@dataclass(frozen=True, eq=False)
class Reference:
    """Embedded cells with labels, among which the neighbours of other cells are looked for.

    Attributes
    ----------
    index
        Their vectors, (n_cells, d_model) float32 of length 1, ready to be searched.
    codes
        Name of a label → (n_cells,) int32, which of its classes each cell is of.
    classes
        Name of a label → its classes, sorted.
    provenance
        The model, layer and mode that made the vectors, and the sources; nested plain values.
    counts
        Counts of the cells, by which they can be ranked among other genes; or None where tokens
        alone are known.
    ranked
        Tokens of the genes that the cells were ranked among, ascending; None where each of the
        sources was ranked among all of its own.
    groups
        (n_cells,) object: the donor or batch of each cell; or None.
    """

    index: NeighbourIndex
    codes: Mapping[str, NDArray[np.int32]]
    classes: Mapping[str, tuple[str, ...]]
    provenance: Mapping[str, Any]
    counts: ReferenceCounts | None = None
    ranked: NDArray[np.int32] | None = None
    groups: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.index.vectors)

    def __repr__(self) -> str:
        labels = ", ".join(f"{name} ({len(each)} classes)" for name, each in self.classes.items())
        return f"Reference({len(self):,} cells, {labels})"

    def settle(self, dtype: str) -> str:
        """The dtype for the cells of a query: where it is ``"auto"``, that of the reference.

        What ``"auto"`` takes depends on the machine, and may have been another one there.
        """
        return str(self.provenance.get("dtype", dtype)) if dtype == "auto" else dtype

    def check_fits(self, embedder: Embedder | SettledModel, mode: CellMode) -> None:
        """Refuse a model, layer, mode or dtype other than that which made the vectors.

        Raises
        ------
        CheckpointError
            If distances between its vectors and the reference's would mean nothing.
        """
        own = {
            **embedder.checkpoint.provenance(),
            "mode": mode, "layer": embedder.layer, "dtype": embedder.precision,
        }  # fmt: skip
        odd = [name for name in _BINDING if self.provenance.get(name) != own[name]]
        if odd:
            name = odd[0]
            theirs, ours = (str(each.get(name))[:12] for each in (self.provenance, own))
            raise CheckpointError(
                f"The reference was made with {self.provenance.get('model')}, {name} {theirs}, "
                f"and the query would be embedded with {embedder.checkpoint.name}, {name} {ours}.",
                "The same weights, vocabulary, layer, mode and dtype: other vectors cannot be "
                "compared.",
                f"Give the {_BINDING[name]} of the reference, or build the reference anew.",
            )

    def check_labels(self, labels: Sequence[str]) -> None:
        """Refuse labels that it has not.

        Raises
        ------
        SettingsError
            If it lacks one.
        """
        for label in labels:
            if label not in self.codes:
                raise SettingsError(
                    f"The reference has no label {label!r}.",
                    f"One of {', '.join(self.codes)}.",
                    "Correct label (--label), or build the reference with it.",
                )


def build_reference(
    sources: Sources,
    embedder: AnyEmbedder,
    labels: str | Sequence[str],
    *,
    mode: CellMode = "cell",
    options: ReadingOptions | None = None,
    unlabelled: str | Sequence[str] = (),
    group: str | None = None,
    progress: Progress | None = None,
) -> Reference:
    """Embed labelled cells into memory, and index them.

    Parameters
    ----------
    sources
        AnnData, or files or folders of counts, whose ``obs`` has the labels; one or a list.
    embedder
        The model, ready; or its name or folder.
    labels
        A column, or several, of ``obs``. Cells that lack one of them are left out and told.
    mode
        ``"cell"`` or ``"cls"``; see `embed_cells`.
    options
        Where counts and genes lie.
    unlabelled
        Values that mean no label, such as ``"unassigned"``. ``"unknown"`` is always one.
    group
        The column of ``obs`` with donors or batches, by which ways of naming cells are tried; see
        `Labelling`.
    progress
        Called with the number of cells done since the last call.

    Raises
    ------
    RankformerError
        If sources, model and settings do not go together, or a label has fewer than two classes.

    Examples
    --------
    >>> import rankformer
    >>> reference = rankformer.build_reference("pbmc.h5ad", "gf-12L-95M-i4096", ["cell_type"])
    >>> len(reference)
    30
    """
    embedder = open_embedder(embedder)
    labels, unlabelled = as_names(labels, "labels"), as_names(unlabelled, "unlabelled")
    with opened_sources(sources, embedder.checkpoint.vocabulary, options) as streams:
        named, groups = read_labels(streams, labels, unlabelled), read_groups(streams, group)
        vectors = np.empty((sum(map(len, streams)), embedder.d_model), np.float32)
        genes = genes_of_all(streams)
        reference, rows = index_cells(
            streams, embedder, named, vectors, mode=mode, progress=progress
        )
        own = None if groups is None else groups[rows]
        return replace(with_counts(reference, streams, rows, genes), groups=own)


def read_labels(
    streams: Sequence[TokenSource], labels: Sequence[str], unlabelled: Sequence[str] = ()
) -> dict[str, NDArray[np.object_]]:
    """Name of a label → (n_cells,) texts, None where a cell has none.

    Raises
    ------
    SettingsError
        If no label is asked for, a source lacks one, or one has fewer than two classes.
    """
    if not labels:
        raise SettingsError(
            "No label was asked for.",
            "At least one column of obs of the reference.",
            "Name it as label (--label cell_type).",
        )
    named = {
        label: np.concatenate([_own_labels(stream, label) for stream in streams])
        for label in labels
    }
    for label, values in named.items():
        leave_out(values, unlabelled, f"The label {label} of the reference")
        values[values == UNKNOWN] = None
        _check_classes(label, {each for each in values if each is not None})
        expect_classes(values, f"The label {label} of the reference", _ANOTHER_LABEL)
    return named


def index_cells(
    streams: Sequence[TokenSource],
    embedder: Embedder,
    labels: Mapping[str, NDArray[np.object_]],
    vectors: NDArray[np.float32],
    *,
    mode: CellMode,
    progress: Progress | None = None,
) -> tuple[Reference, NDArray[np.int64]]:
    """Embed cells into `vectors`, (n_cells, d_model), and index those with a vector and labels.

    `vectors` may be mapped from a file: then memory does not grow with the cells, but for the
    graph of a large reference.

    Returns
    -------
    The reference, and which of all cells are in it, ascending.
    """
    embedder.check_mode(mode)
    missing = fill_vectors(vectors, streams, embedder, mode=mode, progress=progress)
    tell_missing(missing)
    labelled = np.all([[each is not None for each in values] for values in labels.values()], axis=0)
    if not labelled.all():
        logger.warning(
            "%s of %s cells of the reference lack %s, and are left out.",
            f"{int((~labelled).sum()):,}", f"{len(labelled):,}", " or ".join(labels),
        )  # fmt: skip
    rows = np.flatnonzero(labelled & np.array([each is None for each in missing], dtype=bool))
    kept = _move_to_front(vectors, rows)
    scale_to_unit(kept)
    classes, codes = {}, {}
    for label, values in labels.items():
        own = values[rows].astype(str)
        names, places = np.unique(own, return_inverse=True)
        _check_classes(label, set(names.tolist()))
        classes[label], codes[label] = tuple(names.tolist()), places.astype(np.int32)
    provenance = describe_run(embedder, mode, streams)
    return Reference(NeighbourIndex.build(kept), codes, classes, provenance), rows


def genes_of_all(streams: Sequence[TokenSource]) -> NDArray[np.int32] | None:
    """Tokens of the genes that all sources measured, ascending; None where tokens alone are known.

    Where each source is ranked among genes of its own, they are not those that it is ranked among.
    """
    genes: NDArray[np.int32] | None = None
    for stream in streams:
        if not isinstance(stream, TokenStream):
            return None
        tokens = stream.mapping.tokens
        own = np.unique(tokens[tokens >= 0]).astype(np.int32)
        genes = own if genes is None else np.intersect1d(genes, own).astype(np.int32)
    return genes


def with_counts(
    reference: Reference,
    streams: Sequence[TokenSource],
    rows: NDArray[np.int64],
    genes: NDArray[np.int32] | None,
    file: Path | None = None,
) -> Reference:
    """The reference with the counts of its cells, where these are known.

    Parameters
    ----------
    reference
        As it was indexed.
    streams
        The sources of its cells.
    rows
        Which of all of their cells are in it, ascending.
    genes
        Tokens of the genes that all sources measured, ascending; None where they are not known.
    file
        Where the counts are written; in memory otherwise.
    """
    if genes is None:
        return reference
    sources = [each for each in streams if isinstance(each, TokenStream)]
    blocks = blocks_of_sources(sources, genes, rows)
    if file is None:
        counts = ReferenceCounts(genes, vstack(list(blocks), format="csr"))
    else:
        write_counts(file, blocks)
        counts = ReferenceCounts(genes, file)
    return replace(reference, counts=counts, ranked=_ranked(sources))


def _ranked(sources: Sequence[TokenStream]) -> NDArray[np.int32] | None:
    """The genes that all sources were ranked among, if these are the same in all."""
    own = [np.unique(each.ranked_tokens[each.ranked_tokens >= 0]) for each in sources]
    same = all(np.array_equal(each, own[0]) for each in own)
    return own[0].astype(np.int32) if same else None


def read_groups(streams: Sequence[TokenSource], column: str | None) -> NDArray[np.object_] | None:
    """(n_cells,) the donor or batch of each cell; None where no column was named.

    Raises
    ------
    SettingsError
        If a source lacks the column, or it names but one group, or a cell has none.
    """
    if column is None:
        return None
    for stream in streams:
        _expect_column(stream, column, "group (--group)")
    joined = pd.concat([stream.obs[column] for stream in streams])
    groups = joined.astype(object).to_numpy()
    n_without = int(pd.isna(groups).sum())
    if n_without or len(set(groups.tolist())) < 2:
        found = f"{n_without:,} cells without a value" if n_without else "a single value"
        raise SettingsError(
            f"obs[{column!r}] of the reference has {found}.",
            "A donor or batch for each cell, and at least two of them.",
            "Correct group (--group), or leave it out.",
        )
    return np.array([str(each) for each in groups], dtype=object)


def _expect_column(stream: TokenSource, column: str, option: str) -> None:
    if column not in stream.obs:
        raise SettingsError(
            f"obs of the reference {stream.name} has no column {column!r}.",
            f"Columns of obs: {', '.join(map(str, stream.obs.columns)) or '(none)'}.",
            f"Correct {option}.",
        )


def _own_labels(stream: TokenSource, label: str) -> NDArray[np.object_]:
    _expect_column(stream, label, "label (--label)")
    where = f"obs[{label!r}] of the reference {stream.name}"
    return read_class_names(stream.obs[label], where, fix=_ANOTHER_LABEL)


def _check_classes(label: str, classes: set[str]) -> None:
    if len(classes) < 2:
        raise SettingsError(
            f"The label {label} of the reference has {len(classes)} class"
            f"{'es' if not classes else f', {min(classes)}'}.",
            "At least two: with one, every cell would get it.",
            "Choose another column as label (--label), or another reference.",
        )


def _move_to_front(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The rows asked for, ascending, at the beginning of the same memory."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = rows[start : start + _ROWS_AT_ONCE]
        vectors[start : start + len(block)] = vectors[block]
    return vectors[: len(rows)]
