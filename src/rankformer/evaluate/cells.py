"""Cells with labels, and all that they are evaluated by: the same cells for every method."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from rankformer.cells.obs_columns import expect_classes, read_class_names, tell_unmatched
from rankformer.cells.obsm import read_class_probabilities, read_obsm
from rankformer.cells.open_sources import open_source
from rankformer.cells.source import CellSource
from rankformer.errors import SettingsError
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import open_counts

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

_MOST_CLASSES_TOLD = 5


@dataclass(frozen=True, eq=False)
class EvaluationCells:
    """The cells that have all that an evaluation needs.

    Attributes
    ----------
    name
        Of the source.
    obs
        Of these cells, with the columns that were asked for.
    codes
        (n_cells,) int64: each cell's class.
    classes
        Names of the classes, sorted.
    groups, batches
        (n_cells,) object, or None where none were asked for.
    vectors
        Embeddings by key: (n_cells, width) float32, finite.
    counts
        (n_cells, n_vars) CSR float32, or None where they were not asked for.
    probabilities
        Of the predictions asked for: classes, and (n_cells, n_classes) float32; or None.
    left_out
        Cells left out, by reason.
    """

    name: str
    obs: pd.DataFrame
    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    groups: NDArray[np.object_] | None
    batches: NDArray[np.object_] | None
    vectors: Mapping[str, NDArray[np.float32]]
    counts: csr_matrix | None
    probabilities: tuple[tuple[str, ...], NDArray[np.float32]] | None
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True)
class WhatToRead:
    """What of a source is evaluated.

    Attributes
    ----------
    label
        Column of obs with the true labels.
    keys
        Names in obsm.
    batch, group
        Columns of obs, or None.
    predicted
        Column of obs with predicted labels, or None.
    ignored
        Labels whose cells are left out, such as ``"unassigned"``.
    counts
        Whether counts are read.
    """

    label: str
    keys: tuple[str, ...] = ()
    batch: str | None = None
    group: str | None = None
    predicted: str | None = None
    ignored: tuple[str, ...] = ()
    counts: bool = True


def gather_evaluation_cells(
    source: "AnnData | str | os.PathLike[str]",
    what: WhatToRead,
    options: ReadingOptions | None = None,
) -> EvaluationCells:
    """Read what is evaluated, without the cells that lack any of it; how many, and why, is logged.

    A label that lies in one group alone cannot be tested on a group that was not trained on: its
    cells are left out of every method's figures alike.

    Raises
    ------
    SettingsError
        If columns or embeddings are missing, or fewer than two classes are left.
    CountsError
        If the source cannot be read or holds no counts.
    """
    options = options or ReadingOptions()
    with closing(open_counts(source, options) if what.counts else open_source(source)) as cells:
        _check_columns(cells.name, cells.obs, what)
        vectors = read_obsm(source, what.keys, len(cells.obs)) if what.keys else {}
        probabilities = _read_probabilities(source, what, len(cells.obs))
        labels = _read_labels(cells.name, cells.obs, what)
        reasons = _find_reasons(cells.obs, labels, vectors, what)
        kept = pd.isna(reasons)
        left_out = _count_reasons(reasons)
        codes, classes = _encode_labels(cells.name, labels[kept], left_out)
        counts = _read_counts(cells, kept, options) if isinstance(cells, CellSource) else None
    _tell_left_out(left_out, len(kept))
    return EvaluationCells(
        cells.name,
        cells.obs.loc[kept],
        codes,
        classes,
        _texts(cells.obs, what.group, kept),
        _texts(cells.obs, what.batch, kept),
        {key: each[kept] for key, each in vectors.items()},
        counts,
        None if probabilities is None else (probabilities[0], probabilities[1][kept]),
        left_out,
    )


def _check_columns(name: str, obs: pd.DataFrame, what: WhatToRead) -> None:
    asked = {"label": what.label, "batch": what.batch, "group": what.group,
             "predicted": what.predicted}  # fmt: skip
    for argument, column in asked.items():
        if column is not None and column not in obs:
            raise SettingsError(
                f"{name} has no column {column!r} in obs.",
                f"One of {', '.join(map(str, obs.columns)) or '(none)'}.",
                f"Correct {argument} (--{argument}).",
            )


def _read_labels(name: str, obs: pd.DataFrame, what: WhatToRead) -> "pd.Series[Any]":
    names = read_class_names(obs[what.label], f"obs[{what.label!r}] of {name}")
    tell_unmatched(names, what.ignored, f"obs[{what.label!r}] of {name}")
    expect_classes(names, f"obs[{what.label!r}] of {name}", "Name another column (--label).")
    return pd.Series(names, obs.index, dtype=object, name=what.label)


def _find_reasons(
    obs: pd.DataFrame,
    labels: "pd.Series[Any]",
    vectors: Mapping[str, NDArray[np.float32]],
    what: WhatToRead,
) -> NDArray[np.object_]:
    """Why a cell cannot be evaluated, or None; the first reason that holds."""
    reasons = np.full(len(obs), None, dtype=object)
    for key, values in vectors.items():
        _mark(reasons, ~np.all(np.isfinite(values), axis=1), f"no embedding in {key}")
    for column in (what.label, what.group, what.batch, what.predicted):
        if column is not None:
            _mark(reasons, obs[column].isna().to_numpy(), f"no {column}")
    for label in what.ignored:
        _mark(reasons, (labels == label).to_numpy(), f"{what.label} is {label}")
    if what.group is not None:
        _mark_untestable(reasons, labels, obs[what.group], what)
    return reasons


def _mark_untestable(
    reasons: NDArray[np.object_],
    labels: "pd.Series[Any]",
    groups: "pd.Series[Any]",
    what: WhatToRead,
) -> None:
    """Mark labels of one group alone; where all cells are of one, that is another complaint."""
    free = pd.isna(reasons)
    groups = groups[free].astype(str)
    if len(groups.unique()) < 2:
        return
    n_groups = groups.groupby(labels[free]).nunique()
    for label in n_groups.index[n_groups == 1]:
        reason = f"{what.label} {label} lies in one {what.group} alone"
        _mark(reasons, (labels == label).to_numpy(), reason)


def _read_probabilities(
    source: "AnnData | str | os.PathLike[str]", what: WhatToRead, n_cells: int
) -> tuple[tuple[str, ...], NDArray[np.float32]] | None:
    if what.predicted is None:
        return None
    return read_class_probabilities(source, what.predicted, n_cells)


def _count_reasons(reasons: NDArray[np.object_]) -> dict[str, int]:
    counts = Counter(str(each) for each in reasons if each is not None)
    return dict(sorted(counts.items()))


def _mark(reasons: NDArray[np.object_], mask: NDArray[np.bool_], reason: str) -> None:
    reasons[mask & pd.isna(reasons)] = reason


def _encode_labels(
    name: str, labels: "pd.Series[Any]", left_out: Mapping[str, int]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    codes, classes = pd.factorize(labels, sort=True)
    if len(classes) < 2:
        why = "; ".join(f"{n:,} left out: {reason}" for reason, n in left_out.items())
        raise SettingsError(
            f"{len(labels):,} cells of {name} can be evaluated, with "
            f"{len(classes)} class(es) in {labels.name}{f' ({why})' if why else ''}.",
            "At least two classes, so that there is something to tell apart.",
            "Name another column (--label), or another group (--group).",
        )
    return codes.astype(np.int64), tuple(map(str, classes))


def _texts(
    obs: pd.DataFrame, column: str | None, kept: NDArray[np.bool_]
) -> NDArray[np.object_] | None:
    return None if column is None else obs.loc[kept, column].astype(str).to_numpy(dtype=object)


def _read_counts(cells: CellSource, kept: NDArray[np.bool_], options: ReadingOptions) -> csr_matrix:
    parts = [
        chunk.counts[kept[chunk.start : chunk.stop]].astype(np.float32)
        for chunk in cells.chunks(options.chunk_cells)
    ]
    return vstack(parts, format="csr")


def _tell_left_out(left_out: Mapping[str, int], n_cells: int) -> None:
    for reason, n in left_out.items():
        logger.warning(
            "%s of %s cells are left out of every figure: %s.", f"{n:,}", f"{n_cells:,}", reason
        )


def list_names(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    shown = ", ".join(names[:_MOST_CLASSES_TOLD])
    more = len(names) - _MOST_CLASSES_TOLD
    return f"{shown} and {more} more" if more > 0 else shown
