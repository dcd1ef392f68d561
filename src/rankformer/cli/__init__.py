"""The command line: settings in, a function called, the result shown.

Heavy modules are imported inside the commands, so that ``--help`` comes at once.
"""

import logging
import os
import sys
from typing import Annotated

import typer

from rankformer.cli.catalogue import LazyGroup
from rankformer.cli.process import (
    Stopped,
    collected_rarely,
    ended_in_time,
    set_up_logging,
    stopped_by_signals,
    wait_idly,
)
from rankformer.cli.wrapping import wrap
from rankformer.errors import RankformerError

BAD_INPUT = 2
INTERRUPTED = "Interrupted; nothing half-written was left."
STOPPED = 128  # plus the number of the signal, as shells count
# Its place differs between versions of typer.
USAGE_ERROR: type[BaseException] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="rankformer",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Geneformer models for single cells: embed, annotate, fine-tune and perturb cells, from "
    "raw counts.",
    epilog="A first look, after `make demo`: rankformer inspect demo-output/blood.h5ad",
)


def run() -> None:
    """Run the command line as a process of its own: `main`, which signals end in any case."""
    with ended_in_time(), collected_rarely():
        main()


def main() -> None:
    """Run the command line; bad input ends with exit status 2 and a sentence, not a traceback."""
    wait_idly()
    as_json = "--json" in sys.argv[1:]
    try:
        with stopped_by_signals():
            _run_as_json() if as_json else app(prog_name="rankformer")
    except RankformerError as error:
        if as_json:
            _print_error(type(error).__name__, str(error))
        sys.stderr.write(wrap(f"{type(error).__name__}: {error}\n", sys.stderr))
        sys.exit(BAD_INPUT)
    except Stopped as stop:
        if as_json:
            _print_error("Interrupted", INTERRUPTED)
        sys.stderr.write(f"{INTERRUPTED}\n")
        sys.exit(STOPPED + stop.signal)


def _run_as_json() -> None:
    """Run a command whose errors, of usage and unforeseen ones too, are JSON on stdout."""
    try:
        sys.exit(app(prog_name="rankformer", standalone_mode=False) or 0)
    except USAGE_ERROR as error:
        message = error.format_message()  # type: ignore[attr-defined]
        _print_error("UsageError", message)
        sys.stderr.write(wrap(f"{message}\n", sys.stderr))
        sys.exit(BAD_INPUT)
    except RankformerError:
        raise
    except Exception as error:
        _print_error(type(error).__name__, str(error))
        raise


def _print_error(kind: str, message: str) -> None:
    from rankformer.show.summary_screen import error_document

    typer.echo(error_document(kind, message))


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
