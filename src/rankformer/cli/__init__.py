"""The command line: settings in, a function called, the result shown.

Heavy modules are imported inside the commands, so that ``--help`` comes at once.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated

import typer

from rankformer.cli.annotate import annotate
from rankformer.cli.bench import bench
from rankformer.cli.command import command
from rankformer.cli.embed import embed
from rankformer.cli.evaluate import evaluate
from rankformer.cli.example import example
from rankformer.cli.finetune import finetune
from rankformer.cli.inspect import inspect
from rankformer.cli.mcp import mcp
from rankformer.cli.models import models_app
from rankformer.cli.network import network
from rankformer.cli.perturb import perturb
from rankformer.cli.perturb_test import perturb_test
from rankformer.cli.predict import predict
from rankformer.cli.pretrain import pretrain
from rankformer.cli.process import (
    Stopped,
    ended_in_time,
    set_up_logging,
    stopped_by_signals,
    wait_idly,
)
from rankformer.cli.tokenize import tokenize
from rankformer.cli.vocabulary import vocabulary_app
from rankformer.cli.wrapping import wrap
from rankformer.errors import RankformerError

BAD_INPUT = 2
STOPPED = 128  # plus the number of the signal, as shells count

app = typer.Typer(
    name="rankformer",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Geneformer models for single cells: embed, annotate, fine-tune and perturb cells, from "
    "raw counts.",
)
# An example for each command, shown below its help.
_EXAMPLES: Mapping[Callable[..., None], str] = MappingProxyType(
    {
        example: "example -o blood.h5ad",
        inspect: "inspect pbmc.h5ad",
        embed: "embed pbmc.h5ad -o embedded.h5ad --model gf-12L-95M-i4096",
        annotate: "annotate pbmc.h5ad -r reference.h5ad --label cell_type -o labelled.h5ad",
        finetune: "finetune labelled.h5ad -o my-model --label cell_type --group donor",
        predict: "predict pbmc.h5ad -o predicted.h5ad --model my-model",
        evaluate: "evaluate embedded.h5ad -o evaluation --label cell_type --key X_geneformer",
        perturb: "perturb pbmc.h5ad -o perturbed.parquet --method screen --top 50",
        perturb_test: "perturb-test perturbed.parquet -o tested.csv --plot volcano.png",
        network: "network pbmc.h5ad -o network.graphml --where cell_type=B",
        tokenize: "tokenize pbmc.h5ad -o tokens --model gf-12L-95M-i4096",
        pretrain: "pretrain cells.h5ad -o my-model --model gf-12L-95M-i4096",
        bench: "bench --model rankformer-mini",
        mcp: "mcp --folder ~/cells",
    }
)
for _function, _example in _EXAMPLES.items():
    app.command(epilog=f"Example: rankformer {_example}")(command(_function))
app.add_typer(models_app, name="models")
app.add_typer(vocabulary_app, name="vocabulary")


def run() -> None:
    """Run the command line as a process of its own: `main`, which signals end in any case."""
    with ended_in_time():
        main()


def main() -> None:
    """Run the command line; bad input ends with exit status 2 and a sentence, not a traceback."""
    wait_idly()
    try:
        with stopped_by_signals():
            app()
    except RankformerError as error:
        sys.stderr.write(wrap(f"{type(error).__name__}: {error}\n", sys.stderr))
        sys.exit(BAD_INPUT)
    except Stopped as stop:
        sys.stderr.write("Interrupted; nothing half-written was left.\n")
        sys.exit(STOPPED + stop.signal)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("rankformer"))
        raise typer.Exit


@app.callback()
def _main(
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Show only warnings and errors, and no progress bar."),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never use the network, not even to look for a model.")
    ] = False,
    show_version: Annotated[  # noqa: ARG001
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    # Of the processes that torchrun starts, one tells.
    from rankformer.training.distributed import is_main_process

    quiet = quiet or not is_main_process()
    set_up_logging(logging.WARNING if quiet else logging.INFO)
