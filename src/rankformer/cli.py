"""The command line: arguments in, a task called, the result shown.

Heavy modules are imported inside the commands, so that ``--help`` comes at once.
"""

import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from rankformer.errors import RankformerError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rankformer.data.gene_tables import GeneTable
    from rankformer.tasks.tokenize import TokenSource

BAD_INPUT = 2
STOPPED = 128  # plus the number of the signal, as shells count

app = typer.Typer(
    name="rankformer",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Geneformer embeddings of single cells, from raw counts.",
)
models_app = typer.Typer(invoke_without_command=True, help="List the known models, or fetch one.")
app.add_typer(models_app, name="models")


class Mode(StrEnum):
    cell = "cell"
    cls = "cls"
    gene = "gene"


class Summary(StrEnum):
    mean = "mean"
    median = "median"


class Numbering(StrEnum):
    hidden_states = "hidden_states"
    published = "published"


class Dtype(StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


_COUNTS, _GENES, _MODEL = "Where the counts are", "Which genes they are", "How the model runs"

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE…",
        help="Counts: .h5ad, .zarr, 10x .h5, a 10x matrix folder, or a folder of such files.",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option("--model", "-m", help="A name from `rankformer models`, or a folder."),
]
Layer = Annotated[
    str | None,
    typer.Option(help="A layer of AnnData; found unless given.", rich_help_panel=_COUNTS),
]
UseRaw = Annotated[
    bool | None,
    typer.Option(
        "--use-raw/--no-raw", help="Take raw.X, or anything but it.", rich_help_panel=_COUNTS
    ),
]
UndoLog1p = Annotated[
    bool,
    typer.Option(
        "--undo-log1p", help="Undo the log1p of counts scaled per cell.", rich_help_panel=_COUNTS
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check/--no-check", help="Refuse values that are no counts.", rich_help_panel=_COUNTS
    ),
]
GeneIds = Annotated[
    str | None,
    typer.Option(help='"index" or a column of var; found unless given.', rich_help_panel=_GENES),
]
GeneTableFile = Annotated[
    Path | None,
    typer.Option(
        help="More names: HGNC's table, or two columns of a CSV or TSV.", rich_help_panel=_GENES
    ),
]
TableIdentifier = Annotated[
    str | None,
    typer.Option(
        "--identifier-column", help="The table's column of names.", rich_help_panel=_GENES
    ),
]
TableEnsembl = Annotated[
    str | None,
    typer.Option(
        "--ensembl-column", help="The table's column of Ensembl ids.", rich_help_panel=_GENES
    ),
]
EnsemblRelease = Annotated[
    int | None,
    typer.Option(
        help="More names: a release in pyensembl's local database.", rich_help_panel=_GENES
    ),
]
MinRecognised = Annotated[
    float,
    typer.Option(help="The least share of variables that must be known.", rich_help_panel=_GENES),
]
GeneReport = Annotated[
    Path | None,
    typer.Option(help="Write the fate of each variable to this CSV.", rich_help_panel=_GENES),
]
Attributes = Annotated[
    list[str] | None,
    typer.Option("--attribute", help="A column of obs to carry along: NAME or NEW=NAME."),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="At most the cores; all unless given.", rich_help_panel=_MODEL),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output.")]
Verbosity = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("rankformer"))
        raise typer.Exit


@app.callback()
def _main(
    quiet: Verbosity = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    show_version: Annotated[  # noqa: ARG001
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    _set_up_logging(logging.WARNING if quiet else logging.INFO)


@app.command()
def embed(
    files: Sources,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=".h5ad or .zarr (a copy with obsm), .npy or .parquet."),
    ],
    model: Model,
    mode: Annotated[
        Mode, typer.Option(help="Mean over genes, the <cls> token, or each gene's vector.")
    ] = Mode.cell,
    summary: Annotated[
        Summary | None, typer.Option(help="With mode gene: one vector a gene, over all cells.")
    ] = None,
    key: Annotated[str, typer.Option(help="Name in obsm.")] = "X_geneformer",
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
    emb_layer: Annotated[int, typer.Option(help="The model's layer.", rich_help_panel=_MODEL)] = -1,
    layer_numbering: Annotated[
        Numbering,
        typer.Option(
            help="hidden_states: 0 embeddings, -1 last. published: 0 last, -1 second to last.",
            rich_help_panel=_MODEL,
        ),
    ] = Numbering.hidden_states,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=_MODEL)
    ] = "auto",
    dtype: Annotated[
        Dtype, typer.Option(help="auto: bfloat16 where native.", rich_help_panel=_MODEL)
    ] = Dtype.auto,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="The most cells at once; by memory unless given.", rich_help_panel=_MODEL
        ),
    ] = None,
    threads: Threads = None,
) -> None:
    """Embed cells or genes."""
    from rankformer.tasks.embed_files import EmbedJob, embed_files
    from rankformer.tasks.tokenize import ReadingOptions, usable_cores

    options = ReadingOptions(
        layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
        gene_table=_gene_table(gene_table, identifier_column, ensembl_column),
        pyensembl_genome=_pyensembl_genome(ensembl_release), min_recognised=min_recognised,
        n_threads=threads,
    )  # fmt: skip
    if threads:
        import torch

        torch.set_num_threads(min(threads, usable_cores()))
    _check_gene_report(gene_report, files, overwrite=overwrite)
    job = EmbedJob(
        sources=tuple(files), output=output, mode=mode.value,
        summary=summary.value if summary else None, key=key, overwrite=overwrite,
    )  # fmt: skip
    streams = embed_files(
        job, model, options,
        emb_layer=emb_layer, numbering=layer_numbering.value, device=device, dtype=dtype.value,
        max_cells=batch_size,
    )  # fmt: skip
    _write_gene_report(gene_report, streams)
    _say(f"Wrote {output}: {sum(map(len, streams)):,} cells, mode {mode.value}.")


@app.command()
def tokenize(
    files: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for the dataset.")],
    model: Model,
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
    from rankformer.tasks.tokenize import ReadingOptions
    from rankformer.tasks.tokenize_files import tokenize_files

    options = ReadingOptions(
        layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
        gene_table=_gene_table(gene_table, identifier_column, ensembl_column),
        pyensembl_genome=_pyensembl_genome(ensembl_release), min_recognised=min_recognised,
        n_threads=threads,
        attributes=_attributes(attribute or []),
    )  # fmt: skip
    _check_gene_report(gene_report, files)
    streams = tokenize_files(tuple(files), output, model, options)
    _write_gene_report(gene_report, streams)
    _say(f"Wrote {output}: {sum(int(each.kept.sum()) for each in streams):,} cells.")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file or folder of counts.")],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Models to map to; all on this machine unless given."),
    ] = None,
) -> None:
    """Say what a file holds, and what to pass to `embed`."""
    from rankformer.show.inspect_screen import render_inspection
    from rankformer.tasks.inspect_file import inspect_file

    # The screen says all that the log would.
    logging.getLogger("rankformer").setLevel(logging.WARNING)
    render_inspection(inspect_file(file, models=model))


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the known models: names, sizes, and which are on this machine."""
    if context.invoked_subcommand is None:
        from rankformer.show.models_screen import render_models

        render_models()


@models_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name from `rankformer models`.")],
    revision: Annotated[
        str | None, typer.Option(help="A commit, tag or branch of the hub's repository.")
    ] = None,
) -> None:
    """Download a model and its dictionaries into the Hugging Face cache."""
    from rankformer.model.hub import fetch as fetch_model
    from rankformer.model.registry import require_model

    folder = fetch_model(require_model(name), revision=revision)
    _say(f"{name} is in {folder}.")


def _gene_table(
    path: Path | None, identifier: str | None, ensembl_id: str | None
) -> "GeneTable | None":
    if path is None:
        if identifier or ensembl_id:
            raise SettingsError(
                "--identifier-column or --ensembl-column was given without --gene-table.",
                "These name columns of the file given with --gene-table.",
                "Add --gene-table FILE, or leave them out. A column of var is named with "
                "--gene-ids.",
            )
        return None
    from rankformer.data.gene_tables import read_gene_table

    return read_gene_table(path, identifier=identifier, ensembl_id=ensembl_id)


def _pyensembl_genome(release: int | None) -> Any:
    if release is None:
        return None
    from rankformer.data.gene_tables import open_pyensembl

    return open_pyensembl(release)


def _attributes(pairs: list[str]) -> dict[str, str]:
    """``NEW=NAME`` or ``NAME`` → dataset column to column of obs."""
    split = [pair.partition("=") for pair in pairs]
    return {new: name or new for new, _, name in split}


def _check_gene_report(
    path: Path | None, files: "Sequence[Path]", *, overwrite: bool = False
) -> None:
    if path is not None:
        from rankformer.tasks.targets import check_gene_report

        check_gene_report(path, files, overwrite=overwrite)


def _write_gene_report(path: Path | None, streams: "Sequence[TokenSource]") -> None:
    if path is None:
        return
    from rankformer.tasks.output import write_gene_report

    write_gene_report(path, streams)
    _say(f"Wrote {path}: what became of each variable.")


def _say(text: str) -> None:
    logging.getLogger("rankformer").info(text)


def _set_up_logging(level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("rankformer")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


def main() -> None:
    """Run the command line; bad input ends with exit status 2 and a sentence, not a traceback."""
    try:
        with _stopped_by_signals():
            app()
    except RankformerError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(BAD_INPUT)
    except _Stopped as stop:
        sys.stderr.write("Interrupted; nothing half-written was left.\n")
        sys.exit(STOPPED + stop.signal)


class _Stopped(BaseException):
    """Ctrl-C, or a scheduler ends the job; typer would end silently at a KeyboardInterrupt."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


@contextmanager
def _stopped_by_signals() -> "Iterator[None]":
    """Unwind at SIGINT and SIGTERM, so that what is half-written is removed."""

    def stop(number: int, _: object) -> NoReturn:
        raise _Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
