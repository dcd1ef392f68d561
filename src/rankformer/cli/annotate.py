"""``rankformer annotate``."""

from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.options import (
    BatchSize,
    Check,
    Device,
    Dtype,
    DtypeOption,
    EmbLayer,
    EnsemblRelease,
    GeneIds,
    GeneReport,
    GeneTableFile,
    Layer,
    LayerNumbering,
    MinRecognised,
    Model,
    Numbering,
    Overwrite,
    Pooling,
    Sources,
    TableEnsembl,
    TableIdentifier,
    Threads,
    UndoLog1p,
    UseRaw,
    check_gene_report,
    limit_threads,
    model_or_default,
    reading_options,
    write_gene_report,
)

HOW_LABELS_ARE_DECIDED = "How labels are decided"
WHERE_ALL_LIE_FARTHER_OFF = "Where the whole query lies farther off"


def annotate(
    files: Sources,
    reference: Annotated[
        list[Path],
        typer.Option("--reference", "-r", help="Counts with labels in obs, or a saved reference."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help=".h5ad or .zarr (a copy with labels in obs), .csv or .parquet."
        ),
    ],
    model: Model = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="A column of labels in the reference's obs; all of a saved reference unless given."
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="The name of the result in obs, one for each label; predicted_LABEL unless given."
        ),
    ] = None,
    save_reference: Annotated[
        Path | None, typer.Option(help="Save the reference to this folder, to be used again.")
    ] = None,
    mode: Annotated[
        Pooling,
        typer.Option(
            help="A cell's vector: the mean over its genes (cell), or the <cls> token (cls)."
        ),
    ] = Pooling.cell,
    overwrite: Overwrite = False,
    n_neighbors: Annotated[
        int,
        typer.Option(
            help="How many cells of the reference vote.", rich_help_panel=HOW_LABELS_ARE_DECIDED
        ),
    ] = 15,
    min_share: Annotated[
        float,
        typer.Option(
            help="The least share of the votes; with less a cell is unknown.",
            rich_help_panel=HOW_LABELS_ARE_DECIDED,
        ),
    ] = 0.5,
    distance_quantile: Annotated[
        float,
        typer.Option(
            help="The quantile of the label's own distances beyond which a cell is unknown.",
            rich_help_panel=HOW_LABELS_ARE_DECIDED,
        ),
    ] = 0.95,
    allow_shift: Annotated[
        bool,
        typer.Option(
            "--shift/--no-shift",
            help="Move the limits of distance by as much as the whole query lies farther off.",
            rich_help_panel=WHERE_ALL_LIE_FARTHER_OFF,
        ),
    ] = True,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(
            help="A value that means no label, such as unassigned.",
            rich_help_panel=HOW_LABELS_ARE_DECIDED,
        ),
    ] = None,
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
    gene_report: GeneReport = None,
    emb_layer: EmbLayer = -1,
    layer_numbering: LayerNumbering = Numbering.hidden_states,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.auto,
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> None:
    """Give cells the labels of a reference, by nearest neighbours."""
    from rankformer.annotate.files import AnnotateJob, annotate_files
    from rankformer.annotate.vote import NeighbourVote

    options = reading_options(
        layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
        gene_table=gene_table, identifier_column=identifier_column, ensembl_column=ensembl_column,
        ensembl_release=ensembl_release, min_recognised=min_recognised, threads=threads,
    )  # fmt: skip
    limit_threads(threads)
    check_gene_report(gene_report, files, overwrite=overwrite)
    job = AnnotateJob(
        queries=tuple(files), references=tuple(reference), output=output,
        labels=tuple(label or ()), keys=tuple(key or ()), mode=mode.value,
        vote=NeighbourVote(n_neighbors, min_share, distance_quantile, allow_shift),
        unlabelled=tuple(unlabelled or ()), save_to=save_reference, overwrite=overwrite,
    )  # fmt: skip
    streams = annotate_files(
        job, model_or_default(model), options,
        emb_layer=emb_layer, numbering=layer_numbering.value, device=device, dtype=dtype.value,
        max_cells=batch_size,
    )  # fmt: skip
    write_gene_report(gene_report, streams, overwrite=overwrite)
