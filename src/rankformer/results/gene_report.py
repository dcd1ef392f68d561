"""The gene report: a CSV file that says what became of each variable of the inputs."""

import os
from collections.abc import Iterable
from pathlib import Path

from rankformer.errors import OutputError
from rankformer.results.csv_tables import write_csv
from rankformer.results.output_checks import check_target
from rankformer.scratch import whole_or_nothing
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import TokenStream
from rankformer.tokens.tokenized_cells import is_saved_tokens


def check_gene_report(
    path: Path, sources: Iterable[str | os.PathLike[str]], *, overwrite: bool = False
) -> None:
    """Refuse, before any work, a gene report that could not be written.

    Raises
    ------
    OutputError
        If the file cannot be written there, is there already, or no source holds genes.
    """
    check_target(path, (".csv",), overwrite=True)
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists already.",
            "A name that is free, so that nothing is lost.",
            "Choose another name for --gene-report, or move the old one away.",
        )
    if all(is_saved_tokens(source) for source in sources):
        raise _no_genes_to_report()


def write_gene_report(
    path: Path, streams: Iterable[TokenSource], *, overwrite: bool = False
) -> None:
    """Write what became of each variable, as CSV; with a column ``source`` where several were."""
    import pandas as pd

    reports = {
        stream.name: stream.mapping.report()
        for stream in streams
        if isinstance(stream, TokenStream)
    }
    if not reports:
        raise _no_genes_to_report()
    if len(reports) == 1:
        (table,) = reports.values()
    else:
        table = pd.concat(reports, names=["source", None]).reset_index(level=0)
    with whole_or_nothing(path, overwrite=overwrite) as part:
        write_csv(table, part)


def _no_genes_to_report() -> OutputError:
    """What is said where all inputs are tokens."""
    return OutputError(
        "There is no gene report: no input holds genes, only tokens.",
        "An input of counts.",
        "Leave out --gene-report.",
    )
