"""What a reader should be careful of, in sentences."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankformer.cells.counts import ESTIMATES
from rankformer.checkpoints.registry import PACKAGED_MODEL
from rankformer.evaluate.embedding_report import EmbeddingEvaluation
from rankformer.evaluate.embeddings import HVG_PCA
from rankformer.report.agreement import Evaluated
from rankformer.report.count_figures import CountFigures
from rankformer.report.effects import Effects
from rankformer.report.gather import ReportCells
from rankformer.report.settings import ReportSettings
from rankformer.results.metric_names import EMBEDDING_FIGURES

_FEW_RECOGNISED, _FEW_MAPPED, _FEW_COUNTS = 0.8, 0.3, 0.6
# About a quarter of a vocabulary, below which `map_genes` warns; a file does not say how large
# that of its model was.
_FEW_VOCABULARY_GENES = 5_000
_DOMINATING, _WEAK_F1, _BEHIND = 0.8, 0.5, 0.02
_POORLY_MIXED = 0.3
_OF_LABELS = ("knn_macro_f1", "linear_macro_f1", "ari", "nmi", "silhouette_label")
_FEW_GENES = 200
_MOST_NAMED = 6


@dataclass(frozen=True)
class Caution:
    """A sentence or two, and whether it is about something wrong or only to be known.

    Attributes
    ----------
    text
        What was found and what it means.
    is_serious
        Whether results may be wrong because of it.
    """

    text: str
    is_serious: bool = True


def find_cautions(
    cells: ReportCells,
    figures: CountFigures,
    evaluated: Evaluated,
    effects: Effects | None,
    settings: ReportSettings,
) -> list[Caution]:
    """Find what a reader should be careful of; serious ones first."""
    found = [
        *_of_counts(figures),
        *_of_estimates(cells.embedded.provenance),
        *_of_genes(cells.embedded.provenance),
        *_of_cells(cells),
        *_of_batches(cells.batch_shares, settings.batch),
        *_of_evaluation(evaluated, settings),
        *_of_effects(effects),
        *_of_model(cells.embedded.provenance),
    ]
    return sorted(found, key=lambda each: not each.is_serious)


def _of_counts(figures: CountFigures) -> Iterator[Caution]:
    if figures.largest <= 1:
        yield Caution(
            "All counts are 0 or 1. Genes can then not be ranked by their expression, and the "
            "order of a cell's genes follows from their medians in the corpus alone."
        )
    elif figures.share_of_ones > 0.97:
        yield Caution(
            f"{figures.share_of_ones:.0%} of the counts above 0 are 1: the cells were sequenced so "
            "shallowly that the order of most of their genes follows from their medians alone."
        )
    if figures.genes_per_cell < _FEW_GENES:
        yield Caution(
            f"Half of the cells have {figures.genes_per_cell:,.0f} genes with counts or fewer. "
            "Embeddings of so few genes are uncertain."
        )


def _of_estimates(provenance: Mapping[str, Any] | None) -> Iterator[Caution]:
    kinds = {str(source.get("counts_kind", "")) for source in _sources(provenance)}
    if any(kind in kinds for kind in ESTIMATES):
        yield Caution(
            "The counts are estimates with fractions, as where reads are shared out among genes or "
            "ambient RNA is taken away. Genes with few counts may have other ranks than by the "
            "counts themselves.",
            is_serious=False,
        )


def _of_genes(provenance: Mapping[str, Any] | None) -> Iterator[Caution]:
    if provenance is None:
        yield Caution(
            "The file does not say how this embedding was made: which model, which layer, and how "
            "many genes were mapped are not known."
        )
    for source in _sources(provenance):
        genes = _mapping(source.get("genes"))
        recognised = _number(genes, "recognised_share", 1)
        n_genes = _number(genes, "n_genes", _FEW_VOCABULARY_GENES)
        n_mapped, n_vars = _number(genes, "n_mapped", math.inf), _number(genes, "n_vars", 0)
        if recognised < _FEW_RECOGNISED:
            yield Caution(
                f"Only {recognised:.0%} of the genes were recognised. Look at the gene report "
                "(--gene-report) for names that are not understood."
            )
        yield from _of_orthologs(genes)
        if n_genes < _FEW_VOCABULARY_GENES:
            yield Caution(
                f"The file has {n_genes:,.0f} genes of the model's vocabulary, as after "
                "choosing variable genes. Cells are then ranked among few genes, unlike those that "
                "the model was trained on: take the file with all genes where there is one."
            )
        elif n_mapped < _FEW_MAPPED * n_vars:
            yield Caution(
                f"{n_mapped:,.0f} of {n_vars:,.0f} variables are genes that the model "
                "knows; the others were not read.",
                is_serious=False,
            )


def _of_orthologs(genes: Mapping[str, Any]) -> Iterator[Caution]:
    told, kept = _mapping(genes.get("orthologs")), _number(genes, "counts_kept", 1)
    if {"species", "table", "choice"} <= set(told):
        yield Caution(
            f"The cells are of {told['species']}, and the model was trained on human ones. Genes "
            f"were taken for their human orthologs in {told['table']} ({told['choice']}), in which "
            f"{kept:.0%} of the counts lie.",
            is_serious=kept < _FEW_COUNTS,
        )


def _sources(provenance: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    sources = _mapping((provenance or {}).get("sources")).values()
    return [source for source in sources if isinstance(source, Mapping)]


def _mapping(value: Any) -> Mapping[str, Any]:
    """What another program may have put into ``uns`` instead of a mapping is not read."""
    return value if isinstance(value, Mapping) else {}


def _number(genes: Mapping[str, Any], name: str, default: float) -> float:
    value = genes.get(name)
    return float(value) if isinstance(value, (int, float, np.number)) else default


def _of_cells(cells: ReportCells) -> Iterator[Caution]:
    for reason, n in cells.without_embedding.items():
        yield Caution(
            f"{n:,} of {cells.n_cells:,} cells have no embedding ({reason}) and are not shown.",
            is_serious=n > 0.05 * cells.n_cells,
        )
    n_embedded = cells.n_cells - sum(cells.without_embedding.values())
    if len(cells) < n_embedded:
        yield Caution(
            f"The page shows {len(cells):,} of {n_embedded:,} cells. Fewer were drawn where cells "
            "lie close together, so the shares of cell types on this page, and the agreement of "
            "clusters with labels, are not those of the file. The evaluation is of cells drawn "
            "with the same chance.",
            is_serious=False,
        )


def _of_batches(shares: Mapping[str, float], batch: str | None) -> Iterator[Caution]:
    largest = next(iter(shares), "")
    if len(shares) == 1:
        yield Caution(f"All cells are of one {batch}: how batches mix cannot be said.", False)
    elif largest and shares[largest] > _DOMINATING:
        yield Caution(
            f"{shares[largest]:.0%} of the cells are of one {batch} ({largest}): what is "
            "seen here is mostly what that one looks like."
        )


def _of_evaluation(evaluated: Evaluated, settings: ReportSettings) -> Iterator[Caution]:
    evaluation = evaluated.evaluation
    if evaluation is None:
        if settings.labels is not None:
            yield Caution(f"The embedding could not be evaluated. {evaluated.why_not}")
        return
    weak = _weak_labels(evaluation, settings.key)
    if weak:
        named = ", ".join(
            f"{name} ({f1:.2f}, {HVG_PCA} {plain:.2f})" for name, f1, plain in weak[:_MOST_NAMED]
        )
        more = f" and {len(weak) - _MOST_NAMED} more" if len(weak) > _MOST_NAMED else ""
        yield Caution(
            f"The embedding does not separate these labels from others: {named}{more}. In "
            "brackets stands the F1 score of the nearest cells, which is 1 where all are found."
        )
    means = evaluation.summary()["mean"]
    behind = [
        f"{EMBEDDING_FIGURES[figure]} {means[HVG_PCA, figure]:.2f} against "
        f"{means[settings.key, figure]:.2f}"
        for figure in _OF_LABELS
        if (HVG_PCA, figure) in means
        and means[HVG_PCA, figure] - means[settings.key, figure] > _BEHIND
    ]
    if behind:
        yield Caution(
            f"Plain expression ({HVG_PCA}) tells labels apart better than the embedding: "
            f"{', '.join(behind)}.",
            is_serious=len(behind) > 1,
        )
    mixing = means.get((settings.key, "batch_mixing"))
    if mixing is not None and mixing < _POORLY_MIXED:
        yield Caution(
            f"Cells of one label lie apart by {settings.batch}: their mixing is {mixing:.2f}, "
            "where 1 is that of cells drawn at random. Unless this column is a condition that "
            "you compare, do not take distances between batches for biology."
        )


def _weak_labels(evaluation: EmbeddingEvaluation, key: str) -> list[tuple[str, float, float]]:
    """Name, F1 of the nearest cells, and the same by plain expression."""
    table = evaluation.per_class
    by_class = table[table["probe"] == "knn"].pivot_table(
        index="class", columns="method", values="f1"
    )
    weak = by_class[by_class[key] < _WEAK_F1].sort_values(key, kind="stable")
    return [(str(name), float(row[key]), float(row[HVG_PCA])) for name, row in weak.iterrows()]


def _of_effects(effects: Effects | None) -> Iterator[Caution]:
    if effects is not None and not effects.has_replicates:
        yield Caution(
            "The perturbations were tested with cells as the replicates. Cells of one donor are "
            "not independent, so the false discovery rates are too low where there are few "
            "donors. `rankformer perturb-test --replicate` tests donors."
        )


def _of_model(provenance: Mapping[str, Any] | None) -> Iterator[Caution]:
    if (provenance or {}).get("model") == PACKAGED_MODEL:
        yield Caution(
            f"The embedding is of {PACKAGED_MODEL}, which is for trying out, tests and teaching. "
            "For research take a published model; `rankformer models` lists them.",
            is_serious=False,
        )
