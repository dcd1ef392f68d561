"""``rankformer predict``."""

from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.options import (
    BatchSize,
    Check,
    Device,
    Dtype,
    DtypeOption,
    EnsemblRelease,
    GeneIds,
    GeneTableFile,
    Layer,
    MinRecognised,
    Overwrite,
    Sources,
    TableEnsembl,
    TableIdentifier,
    Threads,
    UndoLog1p,
    UseRaw,
    limit_threads,
    reading_options,
)


def predict(
    files: Sources,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=".h5ad or .zarr (a copy with obs), .csv or .parquet."),
    ],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="A folder that `rankformer finetune` wrote.")
    ],
    threshold: Annotated[
        float, typer.Option(help="Below this probability a label is marked as uncertain.")
    ] = 0.5,
    prefix: Annotated[str, typer.Option(help="Before the label's name in obs.")] = "predicted_",
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
    device: Device = "auto",
    dtype: DtypeOption = Dtype.auto,
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> None:
    """Write what a fine-tuned model says of cells, or of genes, and how sure it is."""
    from rankformer.finetuning.predict import PredictJob, predict_files

    options = reading_options(
        layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
        gene_table=gene_table, identifier_column=identifier_column, ensembl_column=ensembl_column,
        ensembl_release=ensembl_release, min_recognised=min_recognised, threads=threads,
    )  # fmt: skip
    limit_threads(threads)
    job = PredictJob(tuple(files), output, prefix, threshold, overwrite)
    predict_files(job, model, options, device=device, dtype=dtype.value, max_cells=batch_size)
