"""``rankformer embed``."""

from rankformer.cli.options import GeneReport, Model, Threads, limit_threads, model_or_default, say
from rankformer.cli.reading import Reading, check_gene_report, write_gene_report
from rankformer.embed.settings import EmbedJob, Running


def embed(
    job: EmbedJob,
    reading: Reading,
    running: Running,
    model: Model = None,
    gene_report: GeneReport = None,
    threads: Threads = None,
) -> None:
    """Compute the embedding of each cell, or of each gene of each cell.

    An embedding is a vector by which similar cells lie close together; scanpy takes it in the place
    of principal components, for neighbours, UMAP and clusters.
    """
    from rankformer.embed.files import embed_files

    options = reading.open(threads=threads)
    limit_threads(threads)
    check_gene_report(gene_report, job.sources, overwrite=job.overwrite)
    streams = embed_files(job, model_or_default(model), options, **vars(running))
    write_gene_report(gene_report, streams, overwrite=job.overwrite)
    if job.mode == "gene":
        say(f"Wrote {job.output}: vectors of genes, {job.summary or 'one a gene and cell'}.")
