"""``rankformer vocabulary``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankformer.cli.command import can_be_quiet
from rankformer.cli.options import (
    WHICH_GENES_THEY_ARE,
    Check,
    EnsemblRelease,
    GeneIds,
    GeneTableFile,
    Layer,
    MinRecognised,
    Overwrite,
    TableEnsembl,
    TableIdentifier,
    UndoLog1p,
    UseRaw,
    reading_options,
    say,
)

if TYPE_CHECKING:
    from rankformer.tokens.tokenize import ReadingOptions
    from rankformer.vocabulary.vocabulary import Vocabulary

WHICH_GENES_ARE_KEPT = "Which genes are kept"

vocabulary_app = typer.Typer(
    no_args_is_help=True, help="Build vocabularies from cells, for pretraining; or show one."
)

Corpus = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE…",
        help="Counts: .h5ad, .zarr, 10x .h5, a 10x matrix folder, or a folder of such files; "
        "and sketches.",
        show_default=False,
    ),
]
Symbols = Annotated[
    str | None,
    typer.Option(
        help='"index" or the column of var with the symbols; found unless given.',
        rich_help_panel=WHICH_GENES_THEY_ARE,
    ),
]
NamesFrom = Annotated[
    str | None,
    typer.Option(
        help="A model or vocabulary to look names up in.", rich_help_panel=WHICH_GENES_THEY_ARE
    ),
]


@vocabulary_app.command()
@can_be_quiet
def build(
    files: Corpus,
    output: Annotated[Path, typer.Option("--output", "-o", help="A .parquet file.")],
    min_cells: Annotated[
        int,
        typer.Option(
            help="Cells in which a gene must not be zero.", rich_help_panel=WHICH_GENES_ARE_KEPT
        ),
    ] = 10,
    biotype: Annotated[
        list[str] | None,
        typer.Option(
            help="Only genes of this biotype, such as protein_coding.",
            rich_help_panel=WHICH_GENES_ARE_KEPT,
        ),
    ] = None,
    special_tokens: Annotated[
        bool,
        typer.Option(
            "--special-tokens/--no-special-tokens", help="Frame cells with <cls> and <eos>, as V2."
        ),
    ] = True,
    input_length: Annotated[
        int | None,
        typer.Option(
            help="The most tokens of a cell; 4096 with special tokens, else 2048, unless given."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the vocabulary; that of the file unless given.")
    ] = None,
    layer: Layer = None,
    use_raw: UseRaw = None,
    undo_log1p: UndoLog1p = False,
    check: Check = True,
    gene_ids: GeneIds = None,
    symbols: Symbols = None,
    names_from: NamesFrom = None,
    gene_table: GeneTableFile = None,
    identifier_column: TableIdentifier = None,
    ensembl_column: TableEnsembl = None,
    ensembl_release: EnsemblRelease = None,
    min_recognised: MinRecognised = 0.5,
    overwrite: Overwrite = False,
) -> None:
    """Build a vocabulary from cells and sketches of cells."""
    from rankformer.corpus.build_vocabulary import build_vocabulary
    from rankformer.results.output_checks import check_target
    from rankformer.scratch import whole_or_nothing

    check_target(output, (".parquet",), overwrite)
    options = _options(
        layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
        gene_table=gene_table, identifier_column=identifier_column, ensembl_column=ensembl_column,
        ensembl_release=ensembl_release, min_recognised=min_recognised,
    )  # fmt: skip
    vocabulary = build_vocabulary(
        files, options, min_cells=min_cells, biotypes=biotype or (), special_tokens=special_tokens,
        input_length=input_length, name=name or output.stem, symbols=symbols,
        names_from=_open(names_from),
    )  # fmt: skip
    with whole_or_nothing(output, overwrite=overwrite) as part:
        vocabulary.save(part)
    say(f"Wrote {output}: {len(vocabulary.ensembl_ids):,} genes, {vocabulary.sha256[:8]}.")


@vocabulary_app.command()
@can_be_quiet
def sketch(
    files: Corpus,
    output: Annotated[Path, typer.Option("--output", "-o", help="A .sketch file.")],
    layer: Layer = None,
    use_raw: UseRaw = None,
    undo_log1p: UndoLog1p = False,
    check: Check = True,
    gene_ids: GeneIds = None,
    symbols: Symbols = None,
    names_from: NamesFrom = None,
    gene_table: GeneTableFile = None,
    identifier_column: TableIdentifier = None,
    ensembl_column: TableEnsembl = None,
    ensembl_release: EnsemblRelease = None,
    min_recognised: MinRecognised = 0.5,
    overwrite: Overwrite = False,
) -> None:
    """Sketch a part of a corpus; `build` puts the parts together."""
    from rankformer.corpus.sketch_expression import sketch_expression
    from rankformer.results.output_checks import check_target
    from rankformer.scratch import whole_or_nothing

    check_target(output, (".sketch",), overwrite)
    options = _options(
        layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
        gene_table=gene_table, identifier_column=identifier_column, ensembl_column=ensembl_column,
        ensembl_release=ensembl_release, min_recognised=min_recognised,
    )  # fmt: skip
    corpus = sketch_expression(files, options, symbols=symbols, names_from=_open(names_from))
    with whole_or_nothing(output, overwrite=overwrite) as part:
        corpus.save(part)
    say(f"Wrote {output}: {len(corpus.ensembl_ids):,} genes over {corpus.n_cells:,} cells.")


@vocabulary_app.command()
@can_be_quiet
def show(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A vocabulary, or a model that has one.")
    ],
) -> None:
    """Print what a vocabulary holds."""
    from rankformer.checkpoints.model_folder import open_vocabulary
    from rankformer.show.vocabulary_screen import render_vocabulary

    render_vocabulary(open_vocabulary(source))


def _options(**given: Any) -> "ReadingOptions":
    return reading_options(any_species=True, **given)


def _open(names_from: str | None) -> "Vocabulary | None":
    if names_from is None:
        return None
    from rankformer.checkpoints.model_folder import open_vocabulary

    return open_vocabulary(names_from)
