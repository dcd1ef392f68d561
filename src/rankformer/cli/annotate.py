"""``rankformer annotate``."""

from dataclasses import replace

from rankformer.annotate.settings import AnnotateJob
from rankformer.cli.next_steps import after_labelling, after_shards, is_unmerged, labels_in
from rankformer.cli.options import GeneReport, Model, Threads, limit_threads, model_or_default
from rankformer.cli.process import uncollected_imports
from rankformer.cli.reading import Reading, check_gene_report, write_gene_report
from rankformer.cli.reporting import ReportPage, add_report, check_report, report_job
from rankformer.embed.settings import Running
from rankformer.report.settings import ReportSettings
from rankformer.summary import Summary


def annotate(
    job: AnnotateJob,
    reading: Reading,
    running: Running,
    model: Model = None,
    gene_report: GeneReport = None,
    report: ReportPage = None,
    threads: Threads = None,
) -> Summary:
    """Give cells the labels of a labelled reference, by the way that does best on it.

    The cells of the input and those of the reference are embedded by the same model, and compared
    by the genes that both have. Several ways of naming are tried on the reference itself; a cell
    unlike those of the reference is called unknown.
    """
    with uncollected_imports():
        from rankformer.annotate.files import annotate_files

    options = reading.open(threads=threads)
    limit_threads(threads)
    check_gene_report(gene_report, job.queries, overwrite=job.overwrite)
    check_report(report, job.queries, job.output, overwrite=job.overwrite)
    model = model_or_default(model)
    summary = annotate_files(job, model, options, **vars(running))
    summary = write_gene_report(gene_report, summary, overwrite=job.overwrite)
    if is_unmerged(summary):
        return replace(summary, next_steps=after_shards(summary, job.output))
    page = report_job(report, job.output, overwrite=job.overwrite)
    what = ReportSettings(color=labels_in(summary))
    summary = add_report(summary, page, what, model, options, **vars(running))
    return replace(summary, next_steps=after_labelling(job.output, summary))
