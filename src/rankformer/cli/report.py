"""``rankformer report``."""

from dataclasses import asdict

from rankformer.cli.options import Model, Threads, limit_threads
from rankformer.cli.reading import Reading
from rankformer.cli.reporting import A_PAGE
from rankformer.embed.settings import Running
from rankformer.report.settings import ReportJob, ReportSettings
from rankformer.summary import Summary, Written


def report(
    job: ReportJob,
    what: ReportSettings,
    reading: Reading,
    running: Running,
    model: Model = None,
    threads: Threads = None,
) -> Summary:
    """See on one page how good an embedding is, beside plain expression.

    The page shows the cells of a file, coloured by any column of obs or gene, says what to be
    careful of, and how well labels are told apart. Where the file has no embedding, its cells are
    embedded first.
    """
    from rankformer.report.files import report_file

    options = reading.open(threads=threads)
    limit_threads(threads)
    made = report_file(job, what, model, options, **vars(running))
    cautions = [asdict(each) for each in made.cautions]
    return Summary(
        (Written(job.output, A_PAGE),),
        {"n_cells": made.n_cells, "n_cells_shown": made.n_shown, "cautions": cautions},
        told=tuple(f"Be careful: {each.text}" for each in made.cautions if each.is_serious),
    )
