"""``rankformer embed``."""

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
    Mode,
    Model,
    Numbering,
    Overwrite,
    Sources,
    Summary,
    TableEnsembl,
    TableIdentifier,
    Threads,
    UndoLog1p,
    UseRaw,
    check_gene_report,
    limit_threads,
    model_or_default,
    reading_options,
    say,
    write_gene_report,
)


def embed(
    files: Sources,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help=".h5ad or .zarr (a copy with obsm), .npy, .csv or .parquet."
        ),
    ],
    model: Model = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="A cell's vector: the mean over its genes (cell) or the <cls> token (cls); or "
            "each gene's vector (gene)."
        ),
    ] = Mode.cell,
    summary: Annotated[
        Summary | None,
        typer.Option(help="With --mode gene: one vector for each gene, over all cells."),
    ] = None,
    key: Annotated[str, typer.Option(help="The name of the embedding in obsm.")] = "X_geneformer",
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
    gene_report: GeneReport = None,
    emb_layer: EmbLayer = -1,
    layer_numbering: LayerNumbering = Numbering.hidden_states,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.auto,
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> None:
    """Embed cells or genes: a vector for each, by a model."""
    from rankformer.embed.files import EmbedJob, embed_files

    options = reading_options(
        layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
        gene_table=gene_table, identifier_column=identifier_column, ensembl_column=ensembl_column,
        ensembl_release=ensembl_release, min_recognised=min_recognised, threads=threads,
    )  # fmt: skip
    limit_threads(threads)
    check_gene_report(gene_report, files, overwrite=overwrite)
    job = EmbedJob(
        sources=tuple(files), output=output, mode=mode.value,
        summary=summary.value if summary else None, key=key, overwrite=overwrite,
    )  # fmt: skip
    streams = embed_files(
        job, model_or_default(model), options,
        emb_layer=emb_layer, numbering=layer_numbering.value, device=device, dtype=dtype.value,
        max_cells=batch_size,
    )  # fmt: skip
    write_gene_report(gene_report, streams, overwrite=overwrite)
    if mode is Mode.gene:
        say(f"Wrote {output}: vectors of genes, {summary or 'one a gene and cell'}.")
