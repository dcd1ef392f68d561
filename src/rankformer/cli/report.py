"""``rankformer report``."""

from rankformer.cli.options import Model, Threads, limit_threads
from rankformer.cli.reading import Reading
from rankformer.cli.reporting import A_PAGE, cautions_told, report_figures
from rankformer.embed.settings import Running
from rankformer.report.settings import ReportJob, ReportSettings
from rankformer.summary import NextStep, Summary, Written


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
    lines = ("import webbrowser", f"webbrowser.open({job.output.resolve().as_uri()!r})")
    return Summary(
        (Written(job.output, A_PAGE),),
        report_figures(made),
        told=cautions_told(made),
        next_steps=(NextStep("Open it in a browser, by hand or from Python", python=lines),),
    )
