"""``rankformer perturb``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rankformer.cli.options import (
    Attributes,
    BatchSize,
    Check,
    Device,
    Dtype,
    DtypeOption,
    EditType,
    EmbLayer,
    EnsemblRelease,
    GeneIds,
    GeneTableFile,
    Layer,
    LayerNumbering,
    MinRecognised,
    Model,
    Numbering,
    Overwrite,
    PerturbationMethod,
    ReadOut,
    Sources,
    StateStatistic,
    TableEnsembl,
    TableIdentifier,
    Threads,
    UndoLog1p,
    UseRaw,
    limit_threads,
    model_or_default,
    names_in,
    parse_attributes,
    reading_options,
)
from rankformer.errors import SettingsError

WHICH_GENES = "Which genes are perturbed"
HOW_EXACTLY = "How exactly"
BETWEEN_STATES = "Between states of cells"


def perturb(
    files: Sources,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .parquet table: a row a cell and gene.")
    ],
    model: Model = None,
    genes: Annotated[
        str | None,
        typer.Option(
            help="all (each gene that a cell expresses), symbols or Ensembl ids with commas "
            "between, or @FILE with one a line. Each is perturbed by itself. all unless given.",
            rich_help_panel=WHICH_GENES,
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="A text file: the genes on each of its lines are perturbed together.",
            rich_help_panel=WHICH_GENES,
        ),
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(
            help="A gene that is perturbed along with each of the others.",
            rich_help_panel=WHICH_GENES,
        ),
    ] = None,
    kind: Annotated[
        EditType,
        typer.Option("--type", help="What is done to a gene.", rich_help_panel=WHICH_GENES),
    ] = EditType.delete,
    share: Annotated[
        float,
        typer.Option(
            help="By how much of a cell's ranks inhibit and activate move a gene.",
            rich_help_panel=WHICH_GENES,
        ),
    ] = 0.25,
    read_out: Annotated[
        ReadOut,
        typer.Option(
            help="What is compared with the unperturbed cell: the mean over its genes (cell), the "
            "<cls> token (cls), or also each gene by itself (gene)."
        ),
    ] = ReadOut.cell,
    affected: Annotated[
        int,
        typer.Option(
            help="With --read-out gene: the most genes kept for each perturbation; 0 keeps all."
        ),
    ] = 100,
    state: Annotated[
        str | None,
        typer.Option(help="The column of obs with states.", rich_help_panel=BETWEEN_STATES),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="Cells of this state are perturbed.", rich_help_panel=BETWEEN_STATES),
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(help="The state that they should turn into.", rich_help_panel=BETWEEN_STATES),
    ] = None,
    alternative: Annotated[
        list[str] | None,
        typer.Option(
            help="A further state towards which shifts are measured.",
            rich_help_panel=BETWEEN_STATES,
        ),
    ] = None,
    state_statistic: Annotated[
        StateStatistic,
        typer.Option(
            help="How the embedding of a state is made of its cells'.",
            rich_help_panel=BETWEEN_STATES,
        ),
    ] = StateStatistic.mean,
    method: Annotated[
        PerturbationMethod,
        typer.Option(
            help="exact runs the model for each cell and gene; screen estimates all genes of a "
            "cell from a few runs.",
            rich_help_panel=HOW_EXACTLY,
        ),
    ] = PerturbationMethod.exact,
    top: Annotated[
        int | None,
        typer.Option(
            help="After a screen, run the best genes exactly: so many.",
            rich_help_panel=HOW_EXACTLY,
        ),
    ] = None,
    exact_cells: Annotated[
        int | None,
        typer.Option(
            help="With --top: the most cells in which they are run; all unless given.",
            rich_help_panel=HOW_EXACTLY,
        ),
    ] = None,
    exact_runs: Annotated[
        int,
        typer.Option(
            help="With --method screen: genes of each cell that are run exactly, to correct the "
            "estimates and to measure their trust.",
            rich_help_panel=HOW_EXACTLY,
        ),
    ] = 4,
    directions: Annotated[
        int,
        typer.Option(
            help="With --method screen: the number of directions, beside those of the states, in "
            "which the movement of a cell is estimated.",
            rich_help_panel=HOW_EXACTLY,
        ),
    ] = 6,
    attribute: Attributes = None,
    n_cells: Annotated[
        int | None,
        typer.Option(help="The most cells that are perturbed, drawn by --seed; all unless given."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which cells are drawn.")] = 0,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Crop and compare near the input length as the published package does.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say how many forward passes, hours and bytes it takes, and end."
        ),
    ] = False,
    overwrite: Overwrite = False,
    layer: Layer = None,
    use_raw: UseRaw = None,
    undo_log1p: UndoLog1p = False,
    check: Check = True,
    gene_ids: GeneIds = None,
    gene_table: GeneTableFile = None,
    identifier_column: TableIdentifier = None,
    ensembl_column: TableEnsembl = None,
    ensembl_release: EnsemblRelease = None,
    min_recognised: MinRecognised = 0.5,
    emb_layer: EmbLayer = -1,
    layer_numbering: LayerNumbering = Numbering.hidden_states,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.auto,
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> None:
    """Perturb genes in silico: how far does each cell's embedding move, and where to?"""
    from rankformer.perturb.files import PerturbJob, estimate_files, perturb_files, tell_estimate
    from rankformer.perturb.genes import read_gene_groups
    from rankformer.perturb.run import Perturbation
    from rankformer.perturb.screen import ScreenSettings
    from rankformer.perturb.states import States

    options = reading_options(
        layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
        gene_table=gene_table, identifier_column=identifier_column, ensembl_column=ensembl_column,
        ensembl_release=ensembl_release, min_recognised=min_recognised, threads=threads,
    )  # fmt: skip
    limit_threads(threads)
    if groups is not None and genes is not None:
        raise SettingsError(
            "Both --genes and --groups were given.", "One of the two.", "Leave one out."
        )
    perturbation = Perturbation(
        kind=kind.value, genes=names_in(genes), anchor=anchor, share=share,
        groups=() if groups is None else read_gene_groups(groups), read_out=read_out.value,
        states=States.asked_for(state, start, goal, alternative or (), state_statistic.value),
        n_cells=n_cells, seed=seed, as_published=as_published, method=method.value,
        screen=ScreenSettings(exact_runs, directions), top=top, exact_cells=exact_cells,
    )  # fmt: skip
    job = PerturbJob(
        sources=tuple(files), output=output, perturbation=perturbation,
        n_affected=affected or None, attributes=parse_attributes(attribute or []),
        overwrite=overwrite,
    )  # fmt: skip
    settings: dict[str, Any] = {
        "emb_layer": emb_layer, "numbering": layer_numbering.value, "device": device,
        "dtype": dtype.value, "max_cells": batch_size,
    }  # fmt: skip
    if dry_run:
        tell_estimate(estimate_files(job, model_or_default(model), options, **settings), output)
    else:
        perturb_files(job, model_or_default(model), options, **settings)
