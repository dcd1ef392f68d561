"""``rankformer models``."""

from dataclasses import asdict
from typing import Annotated

import typer

from rankformer.cli.catalogue import example
from rankformer.cli.command import Common, command
from rankformer.cli.help_screen import HelpfulCommand, HelpfulGroup
from rankformer.cli.next_steps import step
from rankformer.summary import Summary

models_app = typer.Typer(
    cls=HelpfulGroup, add_completion=False, invoke_without_command=True,
    help="List the models that rankformer knows, or download one.",
    epilog=example("models"),
)  # fmt: skip


@models_app.callback()
@command
def models(context: typer.Context) -> Summary | None:
    """List the models that rankformer knows: names, sizes, and which are on this machine."""
    if context.invoked_subcommand is not None:
        return None
    from rankformer.checkpoints.known_models import list_models
    from rankformer.show.models_screen import render_models

    rows = [asdict(each) for each in list_models()]
    return Summary(tables={"models": rows}, screen=render_models)


@models_app.command(cls=HelpfulCommand, epilog=example("models fetch gf-12L-95M-i4096"))
@command
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `rankformer models`.")],
    revision: Annotated[
        str | None,
        typer.Option(help="A commit, tag or branch of the repository on the Hugging Face hub."),
        Common,
    ] = None,
) -> Summary:
    """Download a model and its gene dictionaries from the Hugging Face hub."""
    from rankformer.checkpoints.hub import fetch as fetch_model
    from rankformer.checkpoints.registry import require_model

    folder = fetch_model(require_model(name), revision=revision)
    steps = (step("Measure how fast it is on this machine", "bench", "--model", name),)
    figures = {"model": name, "folder": str(folder)}
    return Summary(figures=figures, told=(f"{name} is in {folder}.",), next_steps=steps)
