"""``rankformer example``."""

from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.next_steps import step
from rankformer.cli.options import Overwrite
from rankformer.summary import Summary, Written


def example(
    output: Annotated[Path, typer.Option("--output", "-o", help="The .h5ad file to write.")],
    overwrite: Overwrite = False,
) -> Summary:
    """Write a file of real cells to try the other commands on.

    It holds 700 blood cells with raw counts of 765 genes, and in obs their types (cell_type). They
    ship with rankformer; nothing is downloaded.
    """
    from rankformer.datasets import write_blood_cells

    write_blood_cells(output, overwrite=overwrite)
    what = "700 blood cells, 765 genes, and their types in the column cell_type of obs"
    page = output.with_name(f"{output.stem}-report.html")
    return Summary(
        (Written(output, what),),
        {"n_cells": 700, "n_variables": 765},
        next_steps=(
            step("See them on a page", "report", output, "-o", page, "--labels", "cell_type"),
        ),
    )
