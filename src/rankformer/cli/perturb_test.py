"""``rankformer perturb-test``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.command import Common
from rankformer.cli.next_steps import read_table
from rankformer.cli.options import Overwrite
from rankformer.perturb.settings import Comparison
from rankformer.summary import Summary


def perturb_test(
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            help="Tables that `rankformer perturb` wrote (.parquet), or _raw.pickle files of the "
            "published geneformer package; several are tested as one.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o",
            help="The table to write, .csv or .parquet, with a row for each perturbation.",
        ),
    ],
    comparison: Comparison,
    null: Annotated[
        Path | None,
        typer.Option(
            help="With --against null: a table of cells in which the genes should do nothing."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="With _raw.pickle files: the model that they were made with."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Also draw the effects against how certain they are (.png, .svg or .pdf)."
        ),
        Common,
    ] = None,
    overwrite: Overwrite = False,
) -> Summary:  # fmt: skip
    """Test which perturbed genes do more than chance would, with q values for each."""
    from rankformer.perturb.result_files import read_results
    from rankformer.perturb.statistics import compare_genes
    from rankformer.perturb.tested_files import check_outputs, summarize_tested, write_tested
    from rankformer.requirements import require_packages
    from rankformer.show.perturbation_plots import write_volcano

    against, replicate = comparison.against, comparison.replicate
    needed = {
        "sklearn": against == "mixture",
        "statsmodels": against == "like_rank" and replicate is not None,
        "matplotlib": plot is not None,
    }
    require_packages(*(name for name, is_needed in needed.items() if is_needed), extra="perturb")
    check_outputs(output, plot, against, overwrite=overwrite)
    tested = compare_genes(
        read_results(tables, model), comparison,
        None if null is None else read_results([null], model),
    )  # fmt: skip
    write_tested(tested, output, overwrite=overwrite)
    if plot is not None:
        write_volcano(tested, plot, overwrite=overwrite)
    steps = (read_table(output, "Read the table in Python"),)
    return replace(summarize_tested(tested, output, plot), next_steps=steps)
