"""``rankformer embed``."""

from dataclasses import replace

from rankformer.cli.next_steps import (
    after_embedding,
    after_shards,
    cell_type_column,
    is_unmerged,
    read_table,
)
from rankformer.cli.options import GeneReport, Model, Threads, limit_threads, model_or_default
from rankformer.cli.process import uncollected_imports
from rankformer.cli.reading import Reading, check_gene_report, write_gene_report
from rankformer.cli.reporting import ReportPage, add_report, check_report, report_job
from rankformer.embed.settings import EmbedJob, Running
from rankformer.report.settings import ReportSettings
from rankformer.summary import NextStep, Summary


def embed(
    job: EmbedJob,
    reading: Reading,
    running: Running,
    model: Model = None,
    gene_report: GeneReport = None,
    report: ReportPage = None,
    threads: Threads = None,
) -> Summary:
    """Compute the embedding of each cell, or of each gene of each cell.

    An embedding is a vector by which similar cells lie close together; scanpy takes it in the place
    of principal components, for neighbours, UMAP and clusters.
    """
    with uncollected_imports():
        from rankformer.embed.files import embed_files

    options = reading.open(threads=threads)
    limit_threads(threads)
    check_gene_report(gene_report, job.sources, overwrite=job.overwrite)
    check_report(report, job.sources, job.output, overwrite=job.overwrite)
    model = model_or_default(model)
    summary = embed_files(job, model, options, **vars(running))
    summary = write_gene_report(gene_report, summary, overwrite=job.overwrite)
    if is_unmerged(summary):
        return replace(summary, next_steps=after_shards(summary, job.output))
    if job.mode == "gene":
        steps: tuple[NextStep, ...] = (read_table(job.output, "Read the vectors in Python"),)
    else:
        steps = after_embedding(job.output, job.key, summary, options)
    what = ReportSettings(key=job.key, labels=cell_type_column(summary.sources))
    page = report_job(report, job.output, overwrite=job.overwrite)
    summary = add_report(summary, page, what, None, options)
    return replace(summary, next_steps=steps)
