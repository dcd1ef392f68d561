"""``rankformer perturb``."""

import sys
from dataclasses import asdict, replace
from typing import Annotated

import typer

from rankformer.cli.command import Common
from rankformer.cli.next_steps import after_shards, cell_type_column, is_unmerged, step
from rankformer.cli.options import Model, Threads, limit_threads, model_or_default
from rankformer.cli.process import uncollected_imports
from rankformer.cli.reading import Reading
from rankformer.cli.reporting import ReportPage, add_report, check_report, report_job
from rankformer.embed.settings import Running
from rankformer.perturb.settings import PerturbJob
from rankformer.report.settings import ReportSettings
from rankformer.summary import NextStep, Summary


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
    report: ReportPage = None,
    threads: Threads = None,
) -> Summary:
    """Perturb genes in silico: how far does the embedding of each cell move, and where to?

    A model reads a cell as the list of its genes, ordered by their expression. Genes are deleted
    from it, or moved within it, and the cell is embedded again.
    """
    with uncollected_imports():
        from rankformer.perturb.files import describe_estimate, estimate_files, perturb_files

    options = reading.open(threads=threads)
    limit_threads(threads)
    if dry_run:
        estimate = estimate_files(job, model_or_default(model), options, **vars(running))
        again = ("rankformer", *(each for each in sys.argv[1:] if each != "--dry-run"))
        return Summary(
            figures=asdict(estimate), told=(describe_estimate(estimate, job.output),),
            next_steps=(NextStep("Run it", again),),
        )  # fmt: skip
    check_report(report, job.sources, None, overwrite=job.overwrite)
    model = model_or_default(model)
    summary = perturb_files(job, model, options, **vars(running))
    if is_unmerged(summary):
        return replace(summary, next_steps=after_shards(summary, job.output, ".parquet"))
    page = report_job(report, job.sources[0], overwrite=job.overwrite)
    what = ReportSettings(perturbed=job.output, labels=cell_type_column(summary.sources))
    summary = add_report(summary, page, what, model, options, **vars(running))
    tested = job.output.with_name(f"{job.output.stem}-tested.csv")
    words = ("perturb-test", job.output, "-o", tested)
    return replace(summary, next_steps=(step("Test the effects", *words),))
