"""``rankformer annotate``."""

from dataclasses import replace

from rankformer.annotate.settings import AnnotateJob
from rankformer.cli.next_steps import after_labelling
from rankformer.cli.options import GeneReport, Model, Threads, limit_threads, model_or_default
from rankformer.cli.reading import Reading, check_gene_report, write_gene_report
from rankformer.embed.settings import Running
from rankformer.summary import Summary


def annotate(
    job: AnnotateJob,
    reading: Reading,
    running: Running,
    model: Model = None,
    gene_report: GeneReport = None,
    threads: Threads = None,
) -> Summary:
    """Give cells the labels of labelled reference cells that lie nearest to them.

    The cells of the input and those of the reference are embedded by the same model. The nearest
    cells of the reference vote; a cell without a clear vote, or far from all of them, is called
    unknown.
    """
    from rankformer.annotate.files import annotate_files

    options = reading.open(threads=threads)
    limit_threads(threads)
    check_gene_report(gene_report, job.queries, overwrite=job.overwrite)
    summary = annotate_files(job, model_or_default(model), options, **vars(running))
    summary = write_gene_report(gene_report, summary, overwrite=job.overwrite)
    return replace(summary, next_steps=after_labelling(job.output, summary))
