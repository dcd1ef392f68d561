"""``rankformer inspect``."""

import logging
from pathlib import Path
from typing import Annotated

import typer


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file or folder of counts.")],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Models to map to; all on this machine unless given."),
    ] = None,
) -> None:
    """Say what a file holds, and what to pass to `embed`."""
    from rankformer.show.inspect_screen import render_inspection
    from rankformer.tokens.inspection import inspect_file

    # The screen says all that the log would.
    logging.getLogger("rankformer").setLevel(logging.WARNING)
    render_inspection(inspect_file(file, models=model))
