"""``rankformer tokenize``."""

from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.options import (
    Attributes,
    Check,
    EnsemblRelease,
    GeneIds,
    GeneReport,
    GeneTableFile,
    Layer,
    MinRecognised,
    Model,
    Sources,
    TableEnsembl,
    TableIdentifier,
    Threads,
    UndoLog1p,
    UseRaw,
    check_gene_report,
    model_or_default,
    reading_options,
    write_gene_report,
)


def tokenize(
    files: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for the dataset.")],
    model: Model = None,
    attribute: Attributes = None,
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
    threads: Threads = None,
) -> None:
    """Write cells as tokens: a Hugging Face dataset (`datasets.load_from_disk`)."""
    from rankformer.tokens.files import tokenize_files

    options = reading_options(
        layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
        gene_table=gene_table, identifier_column=identifier_column, ensembl_column=ensembl_column,
        ensembl_release=ensembl_release, min_recognised=min_recognised, threads=threads,
        attribute=attribute,
    )  # fmt: skip
    check_gene_report(gene_report, files)
    streams = tokenize_files(tuple(files), output, model_or_default(model), options)
    write_gene_report(gene_report, streams)
