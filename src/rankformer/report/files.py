"""Reports of files: the embedding that lies in them, or one that is computed first."""

import logging
import os
from typing import Any

from rankformer.cells.obsm import list_obsm
from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.find import default_model
from rankformer.embed.embedder import Embedder
from rankformer.report.report import WrittenReport, write_report
from rankformer.report.settings import ReportJob, ReportSettings
from rankformer.results.output_checks import check_target
from rankformer.tokens.reading_options import ReadingOptions

logger = logging.getLogger(__name__)


def report_file(
    job: ReportJob,
    settings: ReportSettings,
    model: str | os.PathLike[str] | None = None,
    options: ReadingOptions | None = None,
    **running: Any,
) -> WrittenReport:
    """Write a report of a file; see `write_report`.

    Parameters
    ----------
    job
        Input and output.
    settings
        What is shown.
    model
        A published name or a folder, with which the cells are embedded where the file has no such
        embedding; unless named, the one that is on this machine.
    options
        Where counts and genes lie.
    **running
        Settings of the `Embedder`.

    Returns
    -------
    How many cells are shown, and what to be careful of.

    Raises
    ------
    RankformerError
        If input, model, settings and output do not go together.
    """
    check_target(job.output, (".html",), job.overwrite)
    embedder = None
    if settings.key in list_obsm(job.file):
        if model is not None:
            logger.warning(
                "%s holds the embedding %s, which is shown as it is; %s was not used.",
                job.file, settings.key, model,
            )  # fmt: skip
    else:
        embedder = Embedder(Checkpoint.open(model or default_model()), **running)
    return write_report(
        job.file, job.output, settings, model=embedder, options=options, overwrite=job.overwrite
    )
