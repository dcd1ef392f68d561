"""The command line: arguments in, a task called, the result shown.

Heavy modules are imported inside the commands, so that ``--help`` comes at once.
"""

import logging
import os
import sys
from typing import Annotated

import typer

from rankformer.cli.annotate import annotate
from rankformer.cli.bench import bench
from rankformer.cli.command import can_be_quiet
from rankformer.cli.embed import embed
from rankformer.cli.evaluate import evaluate
from rankformer.cli.finetune import finetune
from rankformer.cli.inspect import inspect
from rankformer.cli.models import models_app
from rankformer.cli.network import network
from rankformer.cli.options import Verbosity
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
    help="Geneformer embeddings of single cells, from raw counts.",
)
app.command()(can_be_quiet(embed))
app.command()(can_be_quiet(annotate))
app.command()(can_be_quiet(tokenize))
app.command()(can_be_quiet(inspect))
app.command()(can_be_quiet(pretrain))
app.command()(can_be_quiet(finetune))
app.command()(can_be_quiet(predict))
app.command()(can_be_quiet(evaluate))
app.command()(can_be_quiet(perturb))
app.command()(can_be_quiet(perturb_test))
app.command()(can_be_quiet(network))
app.command()(can_be_quiet(bench))
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
    quiet: Verbosity = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    show_version: Annotated[  # noqa: ARG001
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    # Of the processes that torchrun starts, one tells.
    from rankformer.training.distributed import is_first_process

    quiet = quiet or not is_first_process()
    set_up_logging(logging.WARNING if quiet else logging.INFO)
