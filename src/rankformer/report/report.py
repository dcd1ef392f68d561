"""A report of a file: gathered, measured, and written as one page."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from scipy.sparse import csr_matrix

from rankformer.cells.normalise import log_normalise
from rankformer.embed.embedder import Embedder
from rankformer.report.agreement import Agreement, compare_clusters, evaluate_cells
from rankformer.report.cautions import Caution, find_cautions
from rankformer.report.columns import ShownColumn, describe_column, describe_columns
from rankformer.report.count_figures import measure_counts
from rankformer.report.effects import read_effects
from rankformer.report.gather import ReportCells, gather_cells
from rankformer.report.layout import Layout, lay_out_embedding, lay_out_expression
from rankformer.report.page import Page, render_page
from rankformer.report.payload import make_payload
from rankformer.report.run_facts import Stopwatch, gather_facts
from rankformer.report.settings import ReportSettings
from rankformer.report.shown_genes import choose_genes
from rankformer.requirements import require_packages
from rankformer.results.output_checks import check_target
from rankformer.scratch import whole_or_nothing
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import Source

logger = logging.getLogger(__name__)
CLUSTERS, EXPRESSION_CLUSTERS = "clusters of the embedding", "clusters of HVG + PCA"


@dataclass(frozen=True)
class WrittenReport:
    """A page that was written.

    Attributes
    ----------
    path
        Where it is.
    n_cells
        Of the source.
    n_shown
        Cells on the page.
    cautions
        What a reader should be careful of; serious ones first.
    """

    path: Path
    n_cells: int
    n_shown: int
    cautions: tuple[Caution, ...]


def write_report(
    source: Source,
    output: str | os.PathLike[str],
    settings: ReportSettings | None = None,
    *,
    model: "Embedder | str | os.PathLike[str] | None" = None,
    options: ReadingOptions | None = None,
    overwrite: bool = False,
) -> WrittenReport:
    """Write a report: one page that shows cells by their embedding, and how good it is.

    The page holds its data and all its code, and never uses the network. Cells stand side by side
    as the embedding and as plain expression (HVG + PCA) place them, and are coloured by any column
    of obs or by a gene. Below stand how genes were mapped, checks of the counts, clusters against
    labels, the evaluation beside baselines, effects of perturbations, what was run, and what a
    reader should be careful of.

    Parameters
    ----------
    source
        AnnData, or a file of counts, with the embedding in ``obsm`` or without.
    output
        The page to write, ``.html``.
    settings
        What is shown.
    model
        The model to embed with, where the source has no embedding: a name, a folder or an
        `Embedder`.
    options
        Where counts and genes lie.
    overwrite
        Replace the output if it exists.

    Returns
    -------
    How many cells are shown, and what to be careful of.

    Raises
    ------
    RankformerError
        If the source, its columns or the output do not fit, or a package is not installed.

    Examples
    --------
    >>> import rankformer
    >>> settings = rankformer.ReportSettings(labels="cell_type", batch="donor")
    >>> report = rankformer.write_report(
    ...     "pbmc.h5ad", "pbmc.html", settings, model="gf-12L-95M-i4096"
    ... )
    >>> report.n_cells, report.n_shown
    (30, 30)
    """
    require_report_packages()
    settings, options = settings or ReportSettings(), options or ReadingOptions()
    output = check_target(output, (".html",), overwrite)
    page = _gather_page(source, settings, model, options)
    text = render_page(page)
    with whole_or_nothing(output, overwrite=overwrite) as part:
        part.write_text(text, encoding="utf-8", errors="replace")
    return WrittenReport(output, page.cells.n_cells, len(page.cells), tuple(page.cautions))


def require_report_packages() -> None:
    """Refuse to begin where a package of the extra ``report`` is not installed.

    Raises
    ------
    SettingsError
        If it is so.
    """
    packages = ("scanpy", "sklearn", "matplotlib", "igraph", "jinja2", "umap")
    require_packages(*packages, extra="report")


def _gather_page(
    source: Source,
    settings: ReportSettings,
    model: "Embedder | str | os.PathLike[str] | None",
    options: ReadingOptions,
) -> Page:
    watch = Stopwatch()
    effects = None if settings.perturbed is None else read_effects(settings.perturbed)
    cells = gather_cells(source, settings, model, options)
    watch.lap("Embedding and reading" if cells.embedded.is_new else "Reading")
    log_counts = log_normalise(cells.counts)
    genes = choose_genes(log_counts, cells.genes, cells.wanted_genes)
    logger.info("Laying out %s cells.", f"{len(cells):,}")
    layouts, no_expression = _lay_out(cells, log_counts)
    watch.lap("Neighbours, clusters and UMAP")
    evaluated = evaluate_cells(cells.evaluated, settings)
    watch.lap("Evaluation")
    columns, left_out = _columns(cells.obs, layouts, settings)
    figures = measure_counts(cells.counts)
    first = settings.color or settings.labels or CLUSTERS
    opens_on_gene = bool(settings.genes) and settings.color is None
    return Page(
        title=settings.title or cells.name,
        cells=cells,
        settings=settings,
        figures=figures,
        cautions=find_cautions(cells, figures, evaluated, effects, settings),
        agreements=_agreements(cells.obs, settings, layouts[0]),
        evaluated=evaluated,
        effects=effects,
        payload=make_payload(layouts, columns, genes, cells.obs.index, first, opens_on_gene),
        no_expression=no_expression,
        columns_left_out=tuple(left_out),
        genes=genes,
        facts=gather_facts(cells.embedded.provenance, watch),
    )


def _lay_out(cells: ReportCells, log_counts: csr_matrix) -> tuple[list[Layout], str]:
    """The pictures, and why there is none of expression where it is so."""
    model = (cells.embedded.provenance or {}).get("model")
    embedding = lay_out_embedding(cells.vectors, str(model) if model else "Embedding")
    expression = lay_out_expression(log_counts)
    if isinstance(expression, str):
        return [embedding], expression
    return [embedding, expression], ""


def _columns(
    obs: pd.DataFrame, layouts: Sequence[Layout], settings: ReportSettings
) -> tuple[list[ShownColumn], list[str]]:
    """Columns of obs, and before them the clusters."""
    names = (CLUSTERS, EXPRESSION_CLUSTERS)
    clusters = [
        describe_column(name, pd.Series(layout.clusters, dtype="category"))
        for name, layout in zip(names, layouts, strict=False)
    ]
    named = (settings.color, settings.labels, settings.batch)
    shown, left_out = describe_columns(obs, [each for each in named if each is not None])
    own = [replace(each, name=_free(each.name)) for each in shown]
    return [each for each in clusters if each is not None] + own, left_out


def _free(name: str) -> str:
    """A column of obs that is named as ours are keeps its name, marked as one of obs."""
    return f"obs: {name}" if name in (CLUSTERS, EXPRESSION_CLUSTERS) else name


def _agreements(obs: pd.DataFrame, settings: ReportSettings, layout: Layout) -> list[Agreement]:
    named = dict.fromkeys(each for each in (settings.labels, settings.batch) if each is not None)
    compared = [compare_clusters(obs, each, layout.clusters) for each in named]
    return [each for each in compared if each is not None]
