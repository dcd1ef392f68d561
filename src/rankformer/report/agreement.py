"""How clusters of the embedding, labels and batches agree; and what the evaluation says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from rankformer.cells.obs_columns import names_of_no_label, read_class_names
from rankformer.errors import SettingsError
from rankformer.evaluate.embedding_report import EmbeddingEvaluation
from rankformer.evaluate.embeddings import evaluate_embeddings
from rankformer.report.gather import SampledCells
from rankformer.report.settings import ReportSettings
from rankformer.tokens.reading_options import ReadingOptions

_N_SEEDS = 1


@dataclass(frozen=True, eq=False)
class Agreement:
    """Labels against clusters of the embedding.

    Attributes
    ----------
    label
        The column of obs.
    table
        Labels (rows) by clusters (columns): numbers of cells.
    ari, nmi
        Adjusted Rand index and normalised mutual information, over cells with a label.
    """

    label: str
    table: pd.DataFrame
    ari: float
    nmi: float


def compare_clusters(
    obs: pd.DataFrame, label: str, clusters: NDArray[np.int64]
) -> Agreement | None:
    """Compare the labels of cells, those that have one, with their clusters; None of no labels."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    names = read_class_names(obs[label], f"obs[{label!r}]")
    known = pd.notna(names)
    if not known.any():
        return None
    own, of_label = clusters[known], names[known].astype(str)
    table = pd.crosstab(of_label, own)
    table.index.name, table.columns.name = label, "cluster"
    return Agreement(
        label, table, float(adjusted_rand_score(of_label, own)),
        float(normalized_mutual_info_score(of_label, own)),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What the embedding scores beside baselines, or why it was not evaluated.

    Attributes
    ----------
    evaluation
        None where there is none.
    why_not
        A sentence where there is none.
    """

    evaluation: EmbeddingEvaluation | None
    why_not: str


def evaluate_cells(cells: SampledCells, settings: ReportSettings) -> Evaluated:
    """Evaluate the embedding beside plain expression."""
    if settings.labels is None:
        return Evaluated(None, "No column of labels was named (labels, --labels).")
    adata = AnnData(
        cells.counts, _columns(cells.obs, (settings.labels, settings.batch)),
        obsm={settings.key: cells.vectors},
    )  # fmt: skip
    # Counts were checked when they were read.
    options = ReadingOptions(layer="X", check=False)
    try:
        evaluation = evaluate_embeddings(
            adata, settings.key, label=settings.labels, batch=_usable_batch(adata, settings),
            ignored=_say_no_label(adata, settings.labels), n_seeds=_N_SEEDS, options=options,
        )  # fmt: skip
    except SettingsError as error:
        return Evaluated(None, str(error))
    return Evaluated(evaluation, "")


def _say_no_label(adata: AnnData, label: str) -> list[str]:
    return names_of_no_label(read_class_names(adata.obs[label], f"obs[{label!r}]"))


def _columns(obs: pd.DataFrame, names: Sequence[str | None]) -> pd.DataFrame:
    return obs[list(dict.fromkeys(name for name in names if name is not None))].copy()


def _usable_batch(adata: Any, settings: ReportSettings) -> str | None:
    """The column of batches where there are several."""
    batch = settings.batch
    return batch if batch is not None and len(set(adata.obs[batch].dropna())) > 1 else None
