"""``rankformer models``."""

from typing import Annotated

import typer

from rankformer.cli.command import can_be_quiet
from rankformer.cli.options import say

models_app = typer.Typer(invoke_without_command=True, help="List the known models, or fetch one.")


@models_app.callback()
@can_be_quiet
def models(context: typer.Context) -> None:
    """List the known models: names, sizes, and which are on this machine."""
    if context.invoked_subcommand is None:
        from rankformer.show.models_screen import render_models

        render_models()


@models_app.command()
@can_be_quiet
def fetch(
    name: Annotated[str, typer.Argument(help="A name from `rankformer models`.")],
    revision: Annotated[
        str | None, typer.Option(help="A commit, tag or branch of the hub's repository.")
    ] = None,
) -> None:
    """Download a model and its dictionaries into the Hugging Face cache."""
    from rankformer.checkpoints.hub import fetch as fetch_model
    from rankformer.checkpoints.registry import require_model

    folder = fetch_model(require_model(name), revision=revision)
    say(f"{name} is in {folder}.")
