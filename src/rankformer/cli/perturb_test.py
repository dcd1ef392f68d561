"""``rankformer perturb-test``."""

from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.options import Against, Overwrite


def perturb_test(
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="TABLES",
            help="A .parquet of `rankformer perturb`, or _raw.pickle files of the published "
            "package; several are tested as one.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help=".csv or .parquet: a row a perturbation.")
    ],
    against: Annotated[
        Against,
        typer.Option(
            help="What each gene is compared with: genes of like rank in the same cells "
            "(like_rank), random genes (random), the same gene in another table (null), two normal "
            "distributions of all genes (mixture), or nothing (aggregate)."
        ),
    ] = Against.like_rank,
    goal: Annotated[
        str | None,
        typer.Option(help="The state whose shift is tested; the goal of the run unless given."),
    ] = None,
    replicate: Annotated[
        str | None,
        typer.Option(help="The column of the table with replicates, such as the donor."),
    ] = None,
    null: Annotated[
        Path | None,
        typer.Option(help="With --against null: the table of cells in which nothing is expected."),
    ] = None,
    min_cells: Annotated[
        int, typer.Option(min=1, help="Genes perturbed in fewer cells are not tested.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.")] = 0,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="For a pickle: the model, whose genes its tokens are."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Also draw effect against certainty (.png, .svg or .pdf)."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Test perturbations: which genes do more than chance would?"""
    from rankformer.perturb.result_files import read_results
    from rankformer.perturb.statistics import Comparison, compare_genes
    from rankformer.perturb.tested_files import check_outputs, tell_tested, write_tested
    from rankformer.requirements import require_packages
    from rankformer.show.perturbation_plots import write_volcano

    needed = {
        "sklearn": against is Against.mixture,
        "statsmodels": against is Against.like_rank and replicate is not None,
        "matplotlib": plot is not None,
    }
    require_packages(*(name for name, is_needed in needed.items() if is_needed), extra="perturb")
    check_outputs(output, plot, against.value, overwrite=overwrite)
    tested = compare_genes(
        read_results(tables, model),
        Comparison(against.value, goal, replicate, min_cells, seed),
        None if null is None else read_results([null], model),
    )
    write_tested(tested, output, overwrite=overwrite)
    if plot is not None:
        write_volcano(tested, plot, overwrite=overwrite)
    tell_tested(tested, output)
