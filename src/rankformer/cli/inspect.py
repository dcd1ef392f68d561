"""``rankformer inspect``."""

import logging
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.command import Common
from rankformer.cli.reading import Genes
from rankformer.summary import NextStep, Summary


def inspect(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A file or folder of counts.", show_default=False),
    ],
    genes: Genes,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m",
            help="A model to compare the genes with; by default all models on this machine.",
        ),
        Common,
    ] = None,
) -> Summary:  # fmt: skip
    """Say what a file holds, whether a model can read it, and how to embed it."""
    from rankformer.show.inspect_screen import inspection_tables, render_inspection
    from rankformer.tokens.inspection import inspect_file

    # The screen says all that the log would.
    logging.getLogger("rankformer").setLevel(logging.WARNING)
    inspection = inspect_file(file, models=model, genes=genes.open(), advised_options=genes.words())
    figures, tables = inspection_tables(inspection)
    steps: tuple[NextStep, ...] = ()
    if inspection.arguments:
        steps = (NextStep("Embed the cells", ("rankformer", "embed", *inspection.arguments)),)
    return Summary(
        figures=figures, tables=tables, next_steps=steps,
        screen=partial(render_inspection, inspection),
    )  # fmt: skip
