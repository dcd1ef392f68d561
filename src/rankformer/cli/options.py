"""Options that several commands share, and what becomes of them."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankformer.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rankformer.genes.tables import GeneTable
    from rankformer.tokens.tokenize import ReadingOptions, TokenSource


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
    int8 = "int8"


class TrainingPrecision(StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Pooling(StrEnum):
    cell = "cell"
    cls = "cls"


class EditType(StrEnum):
    delete = "delete"
    overexpress = "overexpress"
    inhibit = "inhibit"
    activate = "activate"


class ReadOut(StrEnum):
    cell = "cell"
    cls = "cls"
    gene = "gene"


class PerturbationMethod(StrEnum):
    exact = "exact"
    screen = "screen"


class Against(StrEnum):
    like_rank = "like_rank"
    random = "random"
    null = "null"
    mixture = "mixture"
    aggregate = "aggregate"


class NetworkBy(StrEnum):
    perturbation = "perturbation"
    attention = "attention"
    similarity = "similarity"


class StateStatistic(StrEnum):
    mean = "mean"
    median = "median"


class Schedule(StrEnum):
    linear = "linear"
    cosine = "cosine"
    constant = "constant_with_warmup"


WHERE_THE_COUNTS_ARE = "Where the counts are"
WHICH_GENES_THEY_ARE = "Which genes they are"
HOW_THE_MODEL_RUNS = "How the model runs"
HOW_IT_IS_TRAINED = "How it is trained (as published unless given)"

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE…",
        help="Counts: .h5ad, .zarr, 10x .h5, a 10x matrix folder, or a folder of such files.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A name from `rankformer models`, or a folder. Unless given, the one published model "
        "that is on this machine, or else rankformer-mini, which is for trying out.",
        show_default=False,
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(
        help="The layer of AnnData with the counts; found unless given.",
        rich_help_panel=WHERE_THE_COUNTS_ARE,
    ),
]
UseRaw = Annotated[
    bool | None,
    typer.Option(
        "--use-raw/--no-raw",
        help="Take the counts of raw.X, or never take them.",
        rich_help_panel=WHERE_THE_COUNTS_ARE,
    ),
]
UndoLog1p = Annotated[
    bool,
    typer.Option(
        "--undo-log1p",
        help="Undo the log1p of counts that were scaled per cell.",
        rich_help_panel=WHERE_THE_COUNTS_ARE,
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check/--no-check",
        help="Refuse values that are not counts.",
        rich_help_panel=WHERE_THE_COUNTS_ARE,
    ),
]
GeneIds = Annotated[
    str | None,
    typer.Option(
        help='Where the names of genes are: "index" or a column of var; found unless given.',
        rich_help_panel=WHICH_GENES_THEY_ARE,
    ),
]
GeneTableFile = Annotated[
    Path | None,
    typer.Option(
        help="A file with more names of genes: HGNC's table, or a CSV or TSV.",
        rich_help_panel=WHICH_GENES_THEY_ARE,
    ),
]
TableIdentifier = Annotated[
    str | None,
    typer.Option(
        "--identifier-column",
        help="With --gene-table: its column of names.",
        rich_help_panel=WHICH_GENES_THEY_ARE,
    ),
]
TableEnsembl = Annotated[
    str | None,
    typer.Option(
        "--ensembl-column",
        help="With --gene-table: its column of Ensembl ids.",
        rich_help_panel=WHICH_GENES_THEY_ARE,
    ),
]
EnsemblRelease = Annotated[
    int | None,
    typer.Option(
        help="Take more names of genes from this release in pyensembl's local database.",
        rich_help_panel=WHICH_GENES_THEY_ARE,
    ),
]
MinRecognised = Annotated[
    float,
    typer.Option(
        help="The least share of the variables, from 0 to 1, that must be known as genes of the "
        "species, in the vocabulary of the model or not.",
        rich_help_panel=WHICH_GENES_THEY_ARE,
    ),
]
GeneReport = Annotated[
    Path | None,
    typer.Option(
        help="Write what became of each gene of the file to this CSV.",
        rich_help_panel=WHICH_GENES_THEY_ARE,
    ),
]
Attributes = Annotated[
    list[str] | None,
    typer.Option("--attribute", help="A column of obs to carry along: NAME or NEW=NAME."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="The most threads; as many as there are cores unless given.",
        rich_help_panel=HOW_THE_MODEL_RUNS,
    ),
]
EmbLayer = Annotated[
    int,
    typer.Option(
        help="The layer of the model whose vectors are taken.", rich_help_panel=HOW_THE_MODEL_RUNS
    ),
]
LayerNumbering = Annotated[
    Numbering,
    typer.Option(
        help="How --emb-layer counts. hidden_states: 0 is the embeddings, -1 the last layer. "
        "published: 0 is the last layer, -1 the one before it.",
        rich_help_panel=HOW_THE_MODEL_RUNS,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        help="The most cells at once; as many as memory allows unless given.",
        rich_help_panel=HOW_THE_MODEL_RUNS,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Where it runs: auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=HOW_THE_MODEL_RUNS
    ),
]
DtypeOption = Annotated[
    Dtype,
    typer.Option(
        help="The number format of the products. auto takes bfloat16 where it is faster; int8 "
        "is for CPUs.",
        rich_help_panel=HOW_THE_MODEL_RUNS,
    ),
]
Epochs = Annotated[
    float | None,
    typer.Option(help="How often each cell is seen.", rich_help_panel=HOW_IT_IS_TRAINED),
]
MaxSteps = Annotated[
    int | None,
    typer.Option(
        help="The number of steps, in place of --epochs.", rich_help_panel=HOW_IT_IS_TRAINED
    ),
]
CellsAStep = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        help="The number of cells in a batch, in each process.",
        rich_help_panel=HOW_IT_IS_TRAINED,
    ),
]
Accumulation = Annotated[
    int | None,
    typer.Option(
        help="How many batches make one step; their gradients are added.",
        rich_help_panel=HOW_IT_IS_TRAINED,
    ),
]
LearningRate = Annotated[
    float | None, typer.Option(help="The highest learning rate.", rich_help_panel=HOW_IT_IS_TRAINED)
]
ScheduleOption = Annotated[
    Schedule | None,
    typer.Option(
        help="How the learning rate goes on after the warm-up.", rich_help_panel=HOW_IT_IS_TRAINED
    ),
]
WarmupSteps = Annotated[
    int | None,
    typer.Option(
        help="The number of steps in which the learning rate rises.",
        rich_help_panel=HOW_IT_IS_TRAINED,
    ),
]
WeightDecay = Annotated[
    float | None, typer.Option(help="The weight decay of AdamW.", rich_help_panel=HOW_IT_IS_TRAINED)
]
LogSteps = Annotated[
    int | None,
    typer.Option(
        help="The number of steps between lines of the log.", rich_help_panel=HOW_IT_IS_TRAINED
    ),
]
Recompute = Annotated[
    bool,
    typer.Option(
        "--recompute",
        help="Take less memory and more time (gradient checkpointing).",
        rich_help_panel=HOW_IT_IS_TRAINED,
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run that was begun for this output.")
]
TrainingDtype = Annotated[
    TrainingPrecision,
    typer.Option(
        "--dtype",
        help="The number format of the products; the weights are float32.",
        rich_help_panel=HOW_THE_MODEL_RUNS,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        help="The number of processes that make batches.", rich_help_panel=HOW_THE_MODEL_RUNS
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Verbosity = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show warnings and errors alone, and no progress.")
]


def reading_options(
    *,
    gene_table: Path | None,
    identifier_column: str | None,
    ensembl_column: str | None,
    ensembl_release: int | None,
    threads: int | None = None,
    attribute: list[str] | None = None,
    any_species: bool = False,
    **same: Any,
) -> "ReadingOptions":
    """What the options of a command say of its sources; `same` are fields of that name."""
    from rankformer.tokens.tokenize import ReadingOptions

    return ReadingOptions(
        gene_table=_open_gene_table(
            gene_table, identifier_column, ensembl_column, any_species=any_species
        ),
        pyensembl_genome=_open_pyensembl_genome(ensembl_release),
        n_threads=threads,
        attributes=parse_attributes(attribute or []),
        **same,
    )


def model_or_default(model: str | None) -> str:
    """The model that was named, or the one to take where none was."""
    from rankformer.checkpoints.find import default_model

    return model or default_model()


def limit_threads(threads: int | None) -> None:
    """Give torch at most the threads asked for and the cores there are."""
    if threads:
        import torch

        from rankformer.cores import usable_cores

        torch.set_num_threads(min(threads, usable_cores()))


def check_gene_report(
    path: Path | None, files: "Sequence[Path]", *, overwrite: bool = False
) -> None:
    if path is not None:
        from rankformer.results.gene_report import check_gene_report

        check_gene_report(path, files, overwrite=overwrite)


def write_gene_report(
    path: Path | None, streams: "Sequence[TokenSource]", *, overwrite: bool = False
) -> None:
    if path is None:
        return
    from rankformer.results.gene_report import write_gene_report

    write_gene_report(path, streams, overwrite=overwrite)
    say(f"Wrote {path}: what became of each variable.")


def say(text: str) -> None:
    """Tell the user, unless ``--quiet`` was given."""
    logging.getLogger("rankformer").info(text)


def _open_gene_table(
    path: Path | None, identifier: str | None, ensembl_id: str | None, *, any_species: bool
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
    from rankformer.genes.tables import read_gene_table

    return read_gene_table(
        path, identifier=identifier, ensembl_id=ensembl_id, any_species=any_species
    )


def _open_pyensembl_genome(release: int | None) -> Any:
    if release is None:
        return None
    from rankformer.genes.tables import open_pyensembl

    return open_pyensembl(release)


def names_in(genes: str | None) -> str | tuple[str, ...]:
    """What ``--genes`` says: ``all``, names with commas between, or ``@FILE``."""
    from rankformer.perturb.genes import ALL, read_gene_list

    if genes is None or genes.strip() == ALL:
        return ALL
    if genes.startswith("@"):
        return read_gene_list(Path(genes[1:]))
    return tuple(filter(None, map(str.strip, genes.split(","))))


def parse_values(pairs: list[str]) -> dict[str, str]:
    """``COLUMN=VALUE`` → column to value.

    Raises
    ------
    SettingsError
        If one has another form, or a column is named twice.
    """
    split = [pair.partition("=") for pair in pairs]
    odd = [pair for pair, (name, equals, _) in zip(pairs, split, strict=True)
           if not (name and equals)]  # fmt: skip
    if odd or len({name for name, _, _ in split}) < len(split):
        raise SettingsError(
            f"--where is {odd[0]!r}." if odd else "--where names a column twice.",
            "COLUMN=VALUE, such as cell_type=B, once for each column.",
            "Correct --where.",
        )
    return {name: value for name, _, value in split}


def parse_attributes(pairs: list[str]) -> dict[str, str]:
    """``NEW=NAME`` or ``NAME`` → dataset column to column of obs."""
    split = [pair.partition("=") for pair in pairs]
    return {new: name or new for new, _, name in split}
