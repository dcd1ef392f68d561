"""``rankformer network``."""

from rankformer.cli.options import Model, Threads, limit_threads, model_or_default
from rankformer.cli.reading import Reading
from rankformer.networks.settings import NetworkJob, NetworkRunning


def network(
    job: NetworkJob,
    reading: Reading,
    running: NetworkRunning,
    model: Model = None,
    threads: Threads = None,
) -> None:
    """Build a network of genes: which genes act on which in some cells, as the model has it."""
    from rankformer.networks.network_files import network_files

    options = reading.open(threads=threads)
    limit_threads(threads)
    network_files(job, model_or_default(model), options, **vars(running))
