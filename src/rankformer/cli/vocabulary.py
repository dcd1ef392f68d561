"""``rankformer vocabulary``."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankformer.cli.catalogue import example
from rankformer.cli.command import command
from rankformer.cli.help_screen import HelpfulCommand, HelpfulGroup
from rankformer.cli.next_steps import step
from rankformer.cli.options import CORPUS, Overwrite
from rankformer.cli.reading import Reading
from rankformer.settings import setting, settings
from rankformer.summary import Summary, Written
from rankformer.tokens.reading_options import WHICH_GENES_THEY_ARE

if TYPE_CHECKING:
    from rankformer.vocabulary.vocabulary import Vocabulary

WHICH_GENES_ARE_KEPT = "Which genes are kept"

vocabulary_app = typer.Typer(
    cls=HelpfulGroup,
    add_completion=False,
    no_args_is_help=True,
    help="Build the vocabulary of a new model from cells, or show one.",
)

Corpus = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE…",
        help=f"{CORPUS}; and sketches, which `rankformer vocabulary sketch` made.",
        show_default=False,
    ),
]


@settings(WHICH_GENES_THEY_ARE)
class Naming:
    """Where the genes of a vocabulary get their names from."""

    symbols: str | None = setting(
        default=None,
        text='Where the gene symbols are: "index", or a column of var. By default, the place is '
        "looked for.",
    )
    names_from: str | None = setting(
        common=True,
        default=None,
        text="A model or a vocabulary file whose names of genes are taken, before those of the "
        "files.",
    )

    def vocabulary(self) -> "Vocabulary | None":
        """The vocabulary to take names from, where one was named."""
        if self.names_from is None:
            return None
        from rankformer.checkpoints.model_folder import open_vocabulary

        return open_vocabulary(self.names_from)


@settings()
class Contents:
    """Which genes and special tokens a vocabulary has; see `build_vocabulary`."""

    min_cells: int = setting(
        common=True, default=10, panel=WHICH_GENES_ARE_KEPT,
        text="The minimum number of cells that must express a gene.",
    )  # fmt: skip
    biotypes: tuple[str, ...] = setting(
        common=True, default=(), panel=WHICH_GENES_ARE_KEPT, options=("--biotype",),
        text="Keep only genes of this biotype, such as protein_coding.",
    )  # fmt: skip
    special_tokens: bool = setting(
        default=True, options=("--special-tokens/--no-special-tokens",),
        text="Put a <cls> token before the genes of each cell and an <eos> token behind them, as "
        "the V2 models have them.",
    )  # fmt: skip
    input_length: int | None = setting(
        default=None,
        text="The maximum number of tokens of a cell that the model reads. By default, 4096 "
        "with special tokens and 2048 without.",
    )
    name: str | None = setting(
        common=True, default=None, text="A name for the vocabulary; by default that of the file."
    )


@vocabulary_app.command(
    cls=HelpfulCommand,
    epilog=example(
        "vocabulary build demo-output/blood.h5ad -o vocabulary.parquet --names-from rankformer-mini"
    ),
)
@command
def build(
    files: Corpus,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The vocabulary file to write, .parquet.")
    ],
    reading: Reading,
    naming: Naming,
    contents: Contents,
    overwrite: Overwrite = False,
) -> Summary:
    """Build a vocabulary: which genes a model knows, and the median expression of each."""
    from rankformer.corpus.build_vocabulary import build_vocabulary
    from rankformer.results.output_checks import check_target
    from rankformer.scratch import whole_or_nothing

    check_target(output, (".parquet",), overwrite)
    vocabulary = build_vocabulary(
        files, reading.open(any_species=True),
        symbols=naming.symbols, names_from=naming.vocabulary(),
        **{**vars(contents), "name": contents.name or output.stem},
    )  # fmt: skip
    with whole_or_nothing(output, overwrite=overwrite) as part:
        vocabulary.save(part)
    n_genes = len(vocabulary.ensembl_ids)
    written = Written(output, f"{n_genes:,} genes, {vocabulary.sha256[:8]}")
    return Summary(
        (written,), {"n_genes": n_genes, "sha256": vocabulary.sha256},
        next_steps=(step("Show what it holds", "vocabulary", "show", output),),
    )  # fmt: skip


@vocabulary_app.command(
    cls=HelpfulCommand,
    epilog=example(
        "vocabulary sketch demo-output/blood.h5ad -o part-1.sketch --names-from rankformer-mini"
    ),
)
@command
def sketch(
    files: Corpus,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write, with the ending .sketch.")
    ],
    reading: Reading,
    naming: Naming,
    overwrite: Overwrite = False,
) -> Summary:
    """Measure the expression of genes in a part of the cells, for a vocabulary of all parts.

    Sketches of parts can be made on several machines; `rankformer vocabulary build` puts them
    together.
    """
    from rankformer.corpus.sketch_expression import sketch_expression
    from rankformer.results.output_checks import check_target
    from rankformer.scratch import whole_or_nothing

    check_target(output, (".sketch",), overwrite)
    corpus = sketch_expression(
        files, reading.open(any_species=True),
        symbols=naming.symbols, names_from=naming.vocabulary(),
    )  # fmt: skip
    with whole_or_nothing(output, overwrite=overwrite) as part:
        corpus.save(part)
    n_genes = len(corpus.ensembl_ids)
    built = output.with_suffix(".parquet")
    words = ("vocabulary", "build", output, "-o", built)
    return Summary(
        (Written(output, f"{n_genes:,} genes over {corpus.n_cells:,} cells"),),
        {"n_genes": n_genes, "n_cells": corpus.n_cells},
        next_steps=(step("Build a vocabulary of it, and of other sketches", *words),),
    )


@vocabulary_app.command(cls=HelpfulCommand, epilog=example("vocabulary show rankformer-mini"))
@command
def show(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A vocabulary file, or the name of a model.")
    ],
) -> Summary:
    """Print what a vocabulary holds: its genes, special tokens and input length."""
    from rankformer.checkpoints.model_folder import open_vocabulary
    from rankformer.show.vocabulary_screen import render_vocabulary, vocabulary_figures

    vocabulary = open_vocabulary(source)
    return Summary(
        figures=vocabulary_figures(vocabulary), screen=partial(render_vocabulary, vocabulary)
    )
