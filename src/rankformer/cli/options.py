"""Options that several commands share, and what becomes of them."""

from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.command import Common
from rankformer.tokens.reading_options import WHICH_GENES_THEY_ARE


def names_of_models(begun: str) -> list[str]:
    """The names that a shell offers behind ``--model``; folders it offers itself."""
    from rankformer.checkpoints.registry import MODELS, PACKAGED_MODEL

    names = [PACKAGED_MODEL, *(name for model in MODELS for name in model.names)]
    return sorted({name for name in names if name.startswith(begun)})


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="The model: a name that `rankformer models` lists, or the folder of one. By default, "
        "the one published model on this machine is taken, or else rankformer-mini, a small model "
        "that ships with rankformer for trying out.",
        show_default=False,
        autocompletion=names_of_models,
    ),
    Common,
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="The maximum number of CPU threads to use; by default as many as there are cores.",
        rich_help_panel="How the model runs",
    ),
]
GeneReport = Annotated[
    Path | None,
    typer.Option(
        help="A CSV file to write, which says for each gene of the input what became of it.",
        rich_help_panel=WHICH_GENES_THEY_ARE,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output if it exists."), Common
]
CORPUS = (
    "Files with raw counts: .h5ad, .zarr, 10x .h5, a 10x matrix folder, or a folder of such files"
)
Sources = Annotated[
    list[Path], typer.Argument(metavar="FILE…", help=f"{CORPUS}.", show_default=False)
]


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
