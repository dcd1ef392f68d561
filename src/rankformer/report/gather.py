"""The cells of a report: which are shown, with their embedding, obs and counts."""

import logging
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from rankformer.cells.obs_columns import read_class_names
from rankformer.cells.obsm import list_obsm, read_obsm, read_provenance
from rankformer.cells.source import CellSource
from rankformer.embed.cells import embed_cells
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.progress import show_progress
from rankformer.report.gene_names import find_genes, gene_names
from rankformer.report.sample import draw_by_density
from rankformer.report.settings import FEWEST_CELLS, ReportSettings
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import Source, open_counts

logger = logging.getLogger(__name__)
# More tell the figures no better, and take minutes.
_MOST_TO_EVALUATE = 10_000


@dataclass(frozen=True, eq=False)
class Embedded:
    """An embedding of all cells of a source, and where it comes from.

    Attributes
    ----------
    vectors
        (n_cells, width) float32; NaN where a cell has none.
    reasons
        (n_cells,) object: why a cell has none.
    provenance
        As `embed` writes it to ``uns``; None where the file does not say.
    is_new
        Whether it was computed for the report.
    """

    vectors: NDArray[np.float32]
    reasons: NDArray[np.object_]
    provenance: Mapping[str, Any] | None
    is_new: bool


@dataclass(frozen=True, eq=False)
class SampledCells:
    """Cells that were drawn with the same chance: those that an embedding is evaluated on.

    Attributes
    ----------
    obs, vectors, counts
        As of `ReportCells`.
    """

    obs: pd.DataFrame
    vectors: NDArray[np.float32]
    counts: csr_matrix


@dataclass(frozen=True, eq=False)
class ReportCells:
    """The cells that a report shows, and the figures of the file that they are of.

    Attributes
    ----------
    name
        Of the source.
    n_cells, n_vars
        Of the source.
    without_embedding
        How many cells have no embedding, by reason; they are not shown.
    batch_shares
        Batch → share of all cells, the largest first; empty where no batches were named.
    obs
        Of the cells shown.
    vectors
        (n_shown, width) float32.
    counts
        (n_shown, n_vars) CSR.
    evaluated
        The cells to evaluate; none where no labels were named.
    genes
        (n_vars,) names by which genes are shown: symbols where `var` has them.
    wanted_genes
        Columns of the genes that are shown in any case.
    location, kind
        Where the counts lie, and what they are.
    embedded
        The embedding of all cells.
    """

    name: str
    n_cells: int
    n_vars: int
    without_embedding: Mapping[str, int]
    batch_shares: Mapping[str, float]
    obs: pd.DataFrame
    vectors: NDArray[np.float32]
    counts: csr_matrix
    evaluated: SampledCells
    genes: NDArray[np.object_]
    wanted_genes: NDArray[np.int64]
    location: str
    kind: str
    embedded: Embedded

    def __len__(self) -> int:
        return len(self.vectors)


def gather_cells(
    source: Source,
    settings: ReportSettings,
    embedder: "Embedder | str | os.PathLike[str] | None",
    options: ReadingOptions,
) -> ReportCells:
    """Read what is shown of a source; embed its cells first, where it has no such embedding.

    Raises
    ------
    SettingsError
        If a column is missing, there is no model to embed with, or there are too few cells.
    """
    with closing(open_counts(source, options)) as cells:
        _check_columns(cells, settings)
        names = gene_names(cells.var)
        wanted = find_genes(cells.var, names, settings.genes)
        obs = _plain_columns(cells.obs)
        embedded = _find_embedding(source, settings.key, embedder, options, obs)
        rows, evaluated = _choose_rows(cells.name, embedded.vectors, settings)
        read = np.union1d(rows, evaluated)
        counts = _read_rows(cells, read, options)
        return ReportCells(
            name=Path(cells.name).name if cells.path else cells.name,
            n_cells=cells.n_cells,
            n_vars=cells.n_vars,
            without_embedding=_count_missing(embedded),
            batch_shares=_shares(obs, settings.batch),
            obs=obs.iloc[rows],
            vectors=embedded.vectors[rows],
            counts=counts[np.searchsorted(read, rows)],
            evaluated=_sample(obs, embedded, counts[np.searchsorted(read, evaluated)], evaluated),
            genes=names,
            wanted_genes=wanted,
            location=cells.location,
            kind=str(cells.kind),
            embedded=embedded,
        )


def _check_columns(cells: CellSource, settings: ReportSettings) -> None:
    """Refuse columns that are not there, and labels and batches that are no names of classes."""
    named = {"labels": settings.labels, "batch": settings.batch, "color": settings.color}
    for option, column in named.items():
        if column is None:
            continue
        if column not in map(str, cells.obs.columns):
            raise SettingsError(
                f"{cells.name} has no column {column!r} in obs.",
                f"One of {', '.join(map(str, cells.obs.columns)) or '(none)'}.",
                f"Correct {option} (--{option}).",
            )
        if option != "color":
            values = _plain_columns(cells.obs)[column]
            fix = f"Name another column ({option}, --{option})."
            read_class_names(values, f"obs[{column!r}] of {cells.name}", fix=fix)


def _plain_columns(obs: pd.DataFrame) -> pd.DataFrame:
    """With names that are texts, each once."""
    plain = obs.set_axis(obs.columns.map(str), axis=1)
    return plain.loc[:, ~plain.columns.duplicated()]


def _find_embedding(
    source: Source,
    key: str,
    embedder: "Embedder | str | os.PathLike[str] | None",
    options: ReadingOptions,
    obs: pd.DataFrame,
) -> Embedded:
    if key in list_obsm(source):
        vectors = read_obsm(source, (key,), len(obs))[key]
        unknown = pd.Series("reason not told", obs.index)
        reasons = obs.get(f"{key}_missing", unknown).to_numpy(object)
        return Embedded(vectors, reasons, read_provenance(source, key), is_new=False)
    if embedder is None:
        raise SettingsError(
            f"There is no {key!r} in obsm, and no model to compute it with.",
            f"One of {', '.join(list_obsm(source)) or '(none)'}, or a model.",
            "Correct key (--key), or name a model (model, --model).",
        )
    with show_progress(len(obs), "Embedding cells") as progress:
        made = embed_cells(source, embedder, options=options, progress=progress)
    return Embedded(made.vectors, made.missing, made.provenance, is_new=True)


def _choose_rows(
    name: str, vectors: NDArray[np.float32], settings: ReportSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to show, by density, and rows to evaluate, each with the same chance; ascending."""
    embedded = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    if len(embedded) < FEWEST_CELLS:
        raise SettingsError(
            f"{len(embedded):,} of {len(vectors):,} cells of {name} have an embedding.",
            f"At least {FEWEST_CELLS} cells, so that there is something to compare.",
            "Report on a file with more cells.",
        )
    rows = embedded[draw_by_density(vectors[embedded], settings.max_cells)]
    if len(rows) < len(embedded):
        logger.info(
            "The report shows %s of %s cells, drawn so that rare ones stay.",
            f"{len(rows):,}", f"{len(embedded):,}",
        )  # fmt: skip
    n_evaluated = min(len(embedded), _MOST_TO_EVALUATE) if settings.labels else 0
    drawn = np.random.default_rng(0).choice(embedded, n_evaluated, replace=False)
    return rows, np.sort(drawn)


def _sample(
    obs: pd.DataFrame, embedded: Embedded, counts: csr_matrix, rows: NDArray[np.int64]
) -> SampledCells:
    return SampledCells(obs.iloc[rows], embedded.vectors[rows], counts)


def _count_missing(embedded: Embedded) -> dict[str, int]:
    is_missing = ~np.isfinite(embedded.vectors).all(axis=1)
    return dict(sorted(Counter(map(str, embedded.reasons[is_missing])).items()))


def _shares(obs: pd.DataFrame, column: str | None) -> dict[str, float]:
    """The share of all cells that each batch has, the largest first."""
    if column is None:
        return {}
    names = obs[column].dropna().astype(str)
    return {str(name): float(n) for name, n in names.value_counts(normalize=True).items()}


def _read_rows(cells: CellSource, rows: NDArray[np.int64], options: ReadingOptions) -> csr_matrix:
    parts = []
    for chunk in cells.chunks(options.chunk_cells):
        first, last = np.searchsorted(rows, (chunk.start, chunk.stop))
        parts.append(chunk.counts[rows[first:last] - chunk.start].astype(np.float32))
    return vstack(parts, format="csr")
