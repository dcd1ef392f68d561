"""``rankformer example``."""

from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.options import Overwrite, say


def example(
    output: Annotated[Path, typer.Option("--output", "-o", help="The .h5ad file to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a file of real cells to try the other commands on.

    It holds 700 blood cells with raw counts of 765 genes, and in obs their types (cell_type). They
    ship with rankformer; nothing is downloaded.
    """
    from rankformer.datasets import write_blood_cells

    write_blood_cells(output, overwrite=overwrite)
    say(f"Wrote {output}: 700 blood cells, 765 genes, and their types in obs column cell_type.")
