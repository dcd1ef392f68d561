"""Honest evaluation of embeddings: the same cells, folds and probes for each, beside baselines."""

import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np

from rankformer.annotate.harmony import integrate_harmony
from rankformer.cells.normalise import log_normalise
from rankformer.errors import SettingsError
from rankformer.evaluate.cells import EvaluationCells, WhatToRead, gather_evaluation_cells
from rankformer.evaluate.embedding_metrics import ExpressionSpace, FixedSpace, Space
from rankformer.evaluate.embedding_report import MAJORITY, EmbeddingEvaluation, EmbeddingScores
from rankformer.evaluate.expression_baselines import choose_variable_genes
from rankformer.evaluate.folds import Folds, draw_folds
from rankformer.evaluate.integration import (
    HARMONY,
    SCVI,
    check_methods,
    integrate_scvi,
)
from rankformer.names import as_names
from rankformer.requirements import require_packages
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import Source

logger = logging.getLogger(__name__)
# A bootstrap of fewer is too narrow.
_FEW_GROUPS = 10

HVG_PCA, HARMONISED, VARIATIONAL = "HVG + PCA", "Harmony", "scVI"


# Longer than 80 lines: its docstring is the manual of the evaluation.
def evaluate_embeddings(  # noqa: PLR0913  # each keyword is a choice of its own
    source: Source,
    keys: str | Sequence[str],
    *,
    label: str,
    batch: str | None = None,
    group: str | None = None,
    beside: str | Sequence[str] = (),
    ignored: str | Sequence[str] = (),
    n_folds: int = 5,
    n_seeds: int = 5,
    options: ReadingOptions | None = None,
) -> EmbeddingEvaluation:
    """Evaluate embeddings in obsm, beside HVG + PCA of the same cells and a majority class.

    Figures, each the better the higher:

    - ``knn_macro_f1``, ``linear_macro_f1``: each cell's label is predicted by probes trained on
      other folds; F1 over all cells, mean over labels. With 95 % intervals by bootstrap over the
      groups, or over cells where no group is given.
    - ``ari``, ``nmi``: agreement of k-means clusters with labels; why k-means: `score_clusters`.
    - ``silhouette_label`` and, with `batch`, ``silhouette_batch``: see `score_silhouettes`.
    - ``batch_mixing``, with `batch`: see `score_batch_mixing`. Where scib-metrics is installed also
      its ``ilisi_scib`` and ``kbet_scib``.

    What may leak: probes are trained on training cells alone, and so are the genes, the components
    and the scaling behind HVG + PCA in each fold. An embedding is taken as it lies: where its model
    was fine-tuned on these labels, or pretrained on these cells, its figures know of the test cells
    and those of HVG + PCA do not. Harmony and scVI are run once on all cells, without labels, as
    they are used; the same holds of them. Clusters, silhouettes and batches are of all cells.

    Parameters
    ----------
    source
        AnnData, ``.h5ad`` or ``.zarr`` with counts and embeddings.
    keys
        Names in obsm.
    label
        Column of obs with the true labels.
    batch
        Column of obs whose mixing is measured.
    group
        Column of obs, such as the donor, of which no value is both trained on and tested. Without
        it cells are drawn, and it is said what that may leak.
    beside
        ``"harmony"``, ``"scvi"``: further methods, where installed; they need `batch`.
    ignored
        Labels whose cells are left out, such as ``"unassigned"``.
    n_folds
        Folds, or as many as groups where these are fewer.
    n_seeds
        Draws of folds, clusters and what else is random: seeds 0, 1, …
    options
        Where the counts lie.

    Returns
    -------
    The figures of each method on the same cells: those that have an embedding in each of `keys`, a
    label, a batch and a group. How many were left out is logged and kept.

    Raises
    ------
    SettingsError
        If columns or embeddings are missing, or the cells cannot be cut into such folds.
    CountsError
        If there are no counts for HVG + PCA.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.embed(adata, model="gf-12L-95M-i4096")
    >>> evaluation = rankformer.evaluate_embeddings(
    ...     adata, ["X_geneformer"], label="cell_type", group="donor", n_folds=3, n_seeds=1
    ... )
    """
    require_packages("scanpy", "sklearn", "matplotlib", extra="evaluate")
    from threadpoolctl import threadpool_limits

    keys, ignored = tuple(dict.fromkeys(as_names(keys, "keys"))), as_names(ignored, "ignored")
    _check_keys(keys)
    beside = tuple(dict.fromkeys(as_names(beside, "beside")))
    check_methods(beside, batch)
    what = WhatToRead(label, keys, batch, group, ignored=ignored)
    cells = gather_evaluation_cells(source, what, options)
    _check_batches(cells, batch)
    folds = draw_folds(cells.codes, cells.groups, n_folds=n_folds, n_seeds=n_seeds, label=label)
    run = EmbeddingScores(cells, folds, n_seeds)
    # The probes are small: several threads take turns waiting for each other, and take minutes
    # where other programs run beside.
    with threadpool_limits(limits=1):
        for name, space in _spaces(cells, beside):
            logger.info("Evaluating %s.", name)
            run.add(name, space)
        run.add_majority()
    settings = {
        "label": label, "batch": batch, "group": group, "keys": list(keys), "beside": list(beside),
        "ignored": list(ignored), "folds": folds.n_folds, "draws_of_folds": len(folds.draws),
        "seeds": n_seeds, "classes": list(cells.classes), "versions": _versions(),
    }  # fmt: skip
    return run.result(settings, _notes(cells, folds, label, group, beside))


def _spaces(cells: EvaluationCells, beside: tuple[str, ...]) -> Iterator[tuple[str, Space]]:
    for key, vectors in cells.vectors.items():
        yield key, FixedSpace(vectors)
    assert cells.counts is not None  # noqa: S101  # they were asked for
    values = log_normalise(cells.counts)
    expression = ExpressionSpace(values)
    yield HVG_PCA, expression
    if cells.batches is not None and HARMONY in beside:
        yield HARMONISED, FixedSpace(integrate_harmony(expression.whole(), cells.batches, seed=0))
    if cells.batches is not None and SCVI in beside:
        genes = choose_variable_genes(values)
        yield VARIATIONAL, FixedSpace(integrate_scvi(cells.counts, genes, cells.batches, seed=0))


def _check_keys(keys: tuple[str, ...]) -> None:
    taken = [key for key in keys if key in (HVG_PCA, HARMONISED, VARIATIONAL, MAJORITY)]
    if not keys or taken:
        raise SettingsError(
            f"The embeddings {', '.join(taken)} have a name that a baseline has."
            if taken
            else "No embedding was named.",
            "At least one name in obsm.",
            "Pass keys (--key).",
        )


def _check_batches(cells: EvaluationCells, batch: str | None) -> None:
    if cells.batches is not None and len(set(cells.batches)) < 2:
        raise SettingsError(
            f"All {len(cells):,} cells are of one {batch} ({cells.batches[0]}).",
            "At least two batches, so that there is something to mix.",
            "Name another column (--batch), or leave it out.",
        )


def _notes(
    cells: EvaluationCells,
    folds: Folds,
    label: str,
    group: str | None,
    beside: tuple[str, ...],
) -> tuple[str, ...]:
    notes = [
        _note_folds(folds, group),
        _note_intervals(cells, group),
        "HVG + PCA was learned from the training cells of each fold.",
        (
            "The embeddings are evaluated as they are in the file: if their model was pretrained "
            "or fine-tuned on these cells, it has seen the cells that it is tested on."
        ),
    ]
    if beside:
        notes.append(f"{', '.join(beside)} saw all cells and batches, without labels.")
    unseen = _count_unseen(cells, folds)
    if unseen:
        notes.append(
            f"{unseen:,} cells (mean over draws) were tested by probes that had no training cell "
            f"of their {label}: they count as wrong, for every method."
        )
        logger.warning("%s", notes[-1])
    if cells.batches is None:
        notes.append("No batch was given: how batches mix was not measured.")
    return tuple(notes)


def _note_folds(folds: Folds, group: str | None) -> str:
    if group is None:
        return (
            f"Cells were drawn into {folds.n_folds} folds: cells of one donor or batch lie in "
            "training and in test, so the figures do not say how well new ones are labelled."
        )
    if len(folds.draws) == 1:
        return (
            f"Each {group} was tested by probes trained on the others: nothing is drawn, so the "
            "probes have no spread over seeds; the spread over groups is in the folds."
        )
    return f"No {group} was both trained on and tested; {folds.n_folds} folds a draw."


def _note_intervals(cells: EvaluationCells, group: str | None) -> str:
    if group is None or cells.groups is None:
        return (
            "Intervals are of a bootstrap over cells: they do not say how much the figures would "
            "differ on cells of other donors."
        )
    n_groups = len(set(cells.groups))
    told = f"Intervals are of a bootstrap over the {n_groups} values of {group}"
    return f"{told}; of so few they are too narrow." if n_groups < _FEW_GROUPS else f"{told}."


def _count_unseen(cells: EvaluationCells, folds: Folds) -> int:
    n_unseen = [
        int((~np.isin(cells.codes[test], cells.codes[train])).sum())
        for draw in folds.draws
        for train, test in draw
    ]
    return round(sum(n_unseen) / len(folds.draws))


def _versions() -> dict[str, str]:
    names = ("rankformer", "scikit-learn", "scanpy", "numpy", "scib-metrics")
    modules = {"scikit-learn": "sklearn", "scib-metrics": "scib_metrics"}
    return {name: version(name) for name in names if find_spec(modules.get(name, name))}
