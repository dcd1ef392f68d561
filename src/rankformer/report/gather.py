"""The cells of a report: which are shown, with their embedding, obs and counts."""

import logging
import os
import time
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

from rankformer.cells.obsm import list_obsm, read_obsm, read_provenance
from rankformer.cells.source import CellSource
from rankformer.embed.cells import embed_cells
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.genes.columns import SYMBOL_COLUMNS
from rankformer.progress import show_progress
from rankformer.report.sample import draw_by_density
from rankformer.report.settings import FEWEST_CELLS, ReportSettings
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import Source, open_counts

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Embedded:
    """An embedding of all cells of a source, and where it comes from.

    Attributes
    ----------
    vectors
        (n_cells, width) float32; NaN where a cell has none.
    provenance
        As `embed` writes it to ``uns``; None where the file does not say.
    seconds
        How long it took where it was computed for the report, else None.
    """

    vectors: NDArray[np.float32]
    provenance: Mapping[str, Any] | None
    seconds: float | None


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
    obs
        Of the cells shown.
    vectors
        (n_shown, width) float32.
    counts
        (n_shown, n_vars) CSR.
    genes
        (n_vars,) names by which genes are shown: symbols where `var` has them.
    location, kind
        Where the counts lie, and what they are.
    embedded
        The embedding of all cells.
    """

    name: str
    n_cells: int
    n_vars: int
    without_embedding: Mapping[str, int]
    obs: pd.DataFrame
    vectors: NDArray[np.float32]
    counts: csr_matrix
    genes: NDArray[np.object_]
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
        embedded = _find_embedding(source, settings.key, embedder, options, len(cells.obs))
        rows = _choose_rows(cells.name, embedded.vectors, settings)
        return ReportCells(
            Path(cells.name).name if cells.path else cells.name, cells.n_cells, cells.n_vars,
            _count_missing(cells.obs, settings.key, embedded.vectors), cells.obs.iloc[rows],
            embedded.vectors[rows], _read_rows(cells, rows, options), _gene_names(cells.var),
            cells.location, str(cells.kind), embedded,
        )  # fmt: skip


def _check_columns(cells: CellSource, settings: ReportSettings) -> None:
    named = {"labels": settings.labels, "batch": settings.batch, "color": settings.color}
    for option, column in named.items():
        if column is not None and column not in cells.obs:
            raise SettingsError(
                f"{cells.name} has no column {column!r} in obs.",
                f"One of {', '.join(map(str, cells.obs.columns)) or '(none)'}.",
                f"Correct {option} (--{option}).",
            )


def _find_embedding(
    source: Source,
    key: str,
    embedder: "Embedder | str | os.PathLike[str] | None",
    options: ReadingOptions,
    n_cells: int,
) -> Embedded:
    if key in list_obsm(source):
        vectors = read_obsm(source, (key,), n_cells)[key]
        return Embedded(vectors, read_provenance(source, key), None)
    if embedder is None:
        raise SettingsError(
            f"There is no {key!r} in obsm, and no model to compute it with.",
            f"One of {', '.join(list_obsm(source)) or '(none)'}, or a model.",
            "Correct key (--key), or name a model (model, --model).",
        )
    began = time.perf_counter()
    with show_progress(n_cells, "Embedding cells") as progress:
        made = embed_cells(source, embedder, options=options, progress=progress)
    return Embedded(made.vectors, made.provenance, time.perf_counter() - began)


def _choose_rows(
    name: str, vectors: NDArray[np.float32], settings: ReportSettings
) -> NDArray[np.int64]:
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
    return rows


def _count_missing(obs: pd.DataFrame, key: str, vectors: NDArray[np.float32]) -> dict[str, int]:
    is_missing = ~np.isfinite(vectors).all(axis=1)
    reasons = obs.get(f"{key}_missing", pd.Series("reason not told", obs.index))
    return dict(sorted(Counter(map(str, reasons.to_numpy(object)[is_missing])).items()))


def _read_rows(cells: CellSource, rows: NDArray[np.int64], options: ReadingOptions) -> csr_matrix:
    parts = []
    for chunk in cells.chunks(options.chunk_cells):
        first, last = np.searchsorted(rows, (chunk.start, chunk.stop))
        parts.append(chunk.counts[rows[first:last] - chunk.start].astype(np.float32))
    return vstack(parts, format="csr")


def _gene_names(var: pd.DataFrame) -> NDArray[np.object_]:
    """Symbols where there are any, made different from each other as scanpy makes them."""
    from anndata.utils import make_index_unique

    names = pd.Series(var.index.astype(str), dtype=object)
    for column in SYMBOL_COLUMNS:
        if column in var:
            given = var[column].astype(object).reset_index(drop=True)
            names = given.where(given.notna() & (given.astype(str) != ""), names)
            break
    return np.asarray(make_index_unique(pd.Index(names.astype(str))), dtype=object)
