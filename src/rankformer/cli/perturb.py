"""``rankformer perturb``."""

from typing import Annotated

import typer

from rankformer.cli.command import Common
from rankformer.cli.options import Model, Threads, limit_threads, model_or_default
from rankformer.cli.reading import Reading
from rankformer.embed.settings import Running
from rankformer.perturb.settings import PerturbJob


def perturb(
    job: PerturbJob,
    reading: Reading,
    running: Running,
    model: Model = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say how long it would take, and how much disk.",
        ),
        Common,
    ] = False,
    threads: Threads = None,
) -> None:
    """Perturb genes in silico: how far does the embedding of each cell move, and where to?

    A model reads a cell as the list of its genes, ordered by their expression. Genes are deleted
    from it, or moved within it, and the cell is embedded again.
    """
    from rankformer.perturb.files import estimate_files, perturb_files, tell_estimate

    options = reading.open(threads=threads)
    limit_threads(threads)
    if dry_run:
        estimate = estimate_files(job, model_or_default(model), options, **vars(running))
        tell_estimate(estimate, job.output)
    else:
        perturb_files(job, model_or_default(model), options, **vars(running))
