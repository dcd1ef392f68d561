"""``rankformer network``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rankformer.cli.options import (
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
    NetworkBy,
    Numbering,
    Overwrite,
    Sources,
    TableEnsembl,
    TableIdentifier,
    Threads,
    UndoLog1p,
    UseRaw,
    limit_threads,
    model_or_default,
    names_in,
    parse_values,
    reading_options,
)

WHICH_CELLS = "Which cells and genes"
HOW_IT_IS_MEASURED = "How it is measured"


def network(
    files: Sources,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A .graphml for networkx and Cytoscape, or a .parquet table."
        ),
    ],
    model: Model = None,
    by: Annotated[
        NetworkBy,
        typer.Option(
            help="perturbation: how far deleting a gene moves the embedding of another in the same "
            "cell. attention: how much a gene is attended to by another. similarity: the cosine of "
            "their embeddings."
        ),
    ] = NetworkBy.perturbation,
    top: Annotated[
        int, typer.Option(help="The most pairs kept, the most certain ones; 0 keeps all.")
    ] = 1000,
    known: Annotated[
        Path | None,
        typer.Option(
            help="A text file of known pairs: on each line the gene that acts and the one that it "
            "acts upon. How well they are found is told and written to NAME.known.csv."
        ),
    ] = None,
    genes: Annotated[
        str | None,
        typer.Option(
            help="The genes that act: all, symbols or Ensembl ids with commas between, or @FILE "
            "with one a line. all unless given.",
            rich_help_panel=WHICH_CELLS,
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Take the cells with this value in a column of obs, such as cell_type=B.",
            rich_help_panel=WHICH_CELLS,
        ),
    ] = None,
    n_cells: Annotated[
        int | None,
        typer.Option(
            help="The most cells, drawn by --seed; all unless given.", rich_help_panel=WHICH_CELLS
        ),
    ] = None,
    min_cells: Annotated[
        int,
        typer.Option(
            help="Genes and pairs in fewer cells are left out.", rich_help_panel=WHICH_CELLS
        ),
    ] = 10,
    seed: Annotated[
        int, typer.Option(help="Decides which cells are drawn.", rich_help_panel=WHICH_CELLS)
    ] = 0,
    kind: Annotated[
        EditType,
        typer.Option(
            "--type",
            help="By perturbation: what is done to a gene.",
            rich_help_panel=HOW_IT_IS_MEASURED,
        ),
    ] = EditType.delete,
    share: Annotated[
        float,
        typer.Option(
            help="By how much of a cell's ranks inhibit and activate move a gene.",
            rich_help_panel=HOW_IT_IS_MEASURED,
        ),
    ] = 0.25,
    attention_layer: Annotated[
        list[int] | None,
        typer.Option(
            help="By attention: the layer, from 1, or -1 for the last; of several the mean is "
            "taken. The last unless given.",
            rich_help_panel=HOW_IT_IS_MEASURED,
        ),
    ] = None,
    head: Annotated[
        list[int] | None,
        typer.Option(
            help="By attention: the head, from 0; of several the mean is taken. All unless given.",
            rich_help_panel=HOW_IT_IS_MEASURED,
        ),
    ] = None,
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
    dtype: DtypeOption = Dtype.float32,
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> None:
    """Measure what genes do to each other in a cell state: a network of genes."""
    from rankformer.networks.gene_network import NetworkSettings
    from rankformer.networks.network_files import NetworkJob, network_files

    options = reading_options(
        layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
        gene_table=gene_table, identifier_column=identifier_column, ensembl_column=ensembl_column,
        ensembl_release=ensembl_release, min_recognised=min_recognised, threads=threads,
    )  # fmt: skip
    limit_threads(threads)
    settings = NetworkSettings(
        by=by.value, genes=names_in(genes), kind=kind.value, share=share,
        layers=tuple(attention_layer or (-1,)), heads=tuple(head or ()), min_cells=min_cells,
        n_cells=n_cells, seed=seed, top=top or None,
    )  # fmt: skip
    job = NetworkJob(
        sources=tuple(files), output=output, settings=settings, where=parse_values(where or []),
        known=known, overwrite=overwrite,
    )  # fmt: skip
    run_settings: dict[str, Any] = {
        "emb_layer": emb_layer, "numbering": layer_numbering.value, "device": device,
        "dtype": dtype.value, "max_cells": batch_size,
    }  # fmt: skip
    network_files(job, model_or_default(model), options, **run_settings)
