"""``rankformer embed``."""

from dataclasses import replace

from rankformer.cli.next_steps import after_embedding, read_table
from rankformer.cli.options import GeneReport, Model, Threads, limit_threads, model_or_default
from rankformer.cli.reading import Reading, check_gene_report, write_gene_report
from rankformer.embed.settings import EmbedJob, Running
from rankformer.summary import NextStep, Summary


def embed(
    job: EmbedJob,
    reading: Reading,
    running: Running,
    model: Model = None,
    gene_report: GeneReport = None,
    threads: Threads = None,
) -> Summary:
    """Compute the embedding of each cell, or of each gene of each cell.

    An embedding is a vector by which similar cells lie close together; scanpy takes it in the place
    of principal components, for neighbours, UMAP and clusters.
    """
    from rankformer.embed.files import embed_files

    options = reading.open(threads=threads)
    limit_threads(threads)
    check_gene_report(gene_report, job.sources, overwrite=job.overwrite)
    summary = embed_files(job, model_or_default(model), options, **vars(running))
    summary = write_gene_report(gene_report, summary, overwrite=job.overwrite)
    if job.mode == "gene":
        steps: tuple[NextStep, ...] = (read_table(job.output, "Read the vectors in Python"),)
    else:
        steps = after_embedding(job.output, job.key, summary, options)
    return replace(summary, next_steps=steps)
