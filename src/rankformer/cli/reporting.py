"""The report with which other commands end, where one is asked for."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankformer.errors import RankformerError, SettingsError
from rankformer.report.settings import ReportJob, ReportSettings
from rankformer.summary import Summary, Written
from rankformer.tokens.reading_options import ReadingOptions

if TYPE_CHECKING:
    from rankformer.report.report import WrittenReport

A_PAGE = "a page to open in a browser"
WITH_COUNTS = (".h5ad", ".zarr")
ReportPage = Annotated[
    Path | None,
    typer.Option(
        "--report",
        help="Also write a page (.html) that shows the cells and how good their embedding is; see "
        "`rankformer report`.",
    ),
]


def check_report(
    page: Path | None, sources: tuple[Path, ...], output: Path | None, *, overwrite: bool
) -> None:
    """Refuse, before any work, a report that could not be written; None for none.

    Parameters
    ----------
    page
        The page.
    sources
        Inputs of the command.
    output
        What the command writes, where the report is of it.
    overwrite
        Whether the page may be there.

    Raises
    ------
    SettingsError, OutputError
        If the page cannot be written there, or there are no counts to show.
    """
    if page is None:
        return
    from rankformer.cells.file_kinds import identify
    from rankformer.report.report import require_report_packages
    from rankformer.results.output_checks import check_target

    require_report_packages()
    if len(sources) == 1:
        identify(sources[0])
    check_target(page, (".html",), overwrite)
    if len(sources) != 1 or (output is not None and output.suffix not in WITH_COUNTS):
        shown = "" if output is None else f", and the output {output.name}"
        raise SettingsError(
            f"A report was asked for, of {len(sources)} inputs{shown}.",
            "One input, and an output .h5ad or .zarr, which holds the counts too.",
            "Leave --report out, and use `rankformer report` on one file after the other.",
        )


def add_report(
    summary: Summary,
    job: ReportJob | None,
    what: ReportSettings,
    model: str | None,
    options: ReadingOptions,
    **running: Any,
) -> Summary:
    """Write the report, and add it to what was made; None for none."""
    if job is None:
        return summary
    from rankformer.report.files import report_file

    try:
        made = report_file(job, what, model, options, **running)
    except RankformerError as error:
        done = " and ".join(str(each.path) for each in summary.written)
        found = f"{done} was written, but not the report: {error.found}"
        raise type(error)(found, error.expected, error.fix) from error
    return replace(
        summary,
        written=(*summary.written, Written(job.output, A_PAGE)),
        figures={**summary.figures, "report": report_figures(made)},
        told=(*summary.told, *cautions_told(made)),
    )


def report_figures(made: "WrittenReport") -> dict[str, Any]:
    """What JSON says of a report."""
    cautions = [asdict(each) for each in made.cautions]
    return {"n_cells": made.n_cells, "n_cells_shown": made.n_shown, "cautions": cautions}


def cautions_told(made: "WrittenReport") -> tuple[str, ...]:
    """What a terminal says of a report."""
    return tuple(f"Be careful: {each.text}" for each in made.cautions if each.is_serious)


def report_job(page: Path | None, file: Path, *, overwrite: bool) -> ReportJob | None:
    """The report of a file; None for none."""
    return None if page is None else ReportJob(file=file, output=page, overwrite=overwrite)
