"""``rankformer network``."""

from dataclasses import replace

from rankformer.cli.next_steps import read_table
from rankformer.cli.options import Model, Threads, limit_threads, model_or_default
from rankformer.cli.reading import Reading
from rankformer.networks.settings import NetworkJob, NetworkRunning
from rankformer.summary import NextStep, Summary


def network(
    job: NetworkJob,
    reading: Reading,
    running: NetworkRunning,
    model: Model = None,
    threads: Threads = None,
) -> Summary:
    """Build a network of genes: which genes act on which in some cells, as the model has it."""
    from rankformer.networks.network_files import network_files

    options = reading.open(threads=threads)
    limit_threads(threads)
    summary = network_files(job, model_or_default(model), options, **vars(running))
    why = "Read it in Python"
    if job.output.suffix == ".parquet":
        return replace(summary, next_steps=(read_table(job.output, why),))
    lines = ("import networkx", f"networkx.read_graphml({str(job.output)!r})")
    return replace(summary, next_steps=(NextStep(why, python=lines),))
