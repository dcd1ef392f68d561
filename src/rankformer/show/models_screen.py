"""The known models on a terminal: names, sizes, and which are here."""

from rich.console import Console
from rich.table import Table

from rankformer.model.checkpoint import models_folder
from rankformer.model.known_models import KnownModel, list_models
from rankformer.model.registry import PACKAGED_MODEL


def render_models(console: Console | None = None) -> None:
    """Print one row a model, its other names below the first; within 80 columns."""
    console = console or Console(highlight=False)
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("model", no_wrap=True)
    for heading in ("layers", "width", "input", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("here")
    for model in list_models():
        table.add_row(*_row(model))
    console.print(table)
    console.print(
        "Each name works, and so does the folder of a model.\n"
        "Fetch one: rankformer models fetch NAME\n"
        f"Put by hand: {models_folder()}/NAME",
        style="dim",
        soft_wrap=True,
    )


def _row(model: KnownModel) -> tuple[str, ...]:
    others = [f"[dim]  {name}[/dim]" for name in model.other_names]
    return (
        "\n".join([model.name, *others]),
        f"{model.n_layers}",
        f"{model.d_model:,}",
        f"{model.input_length:,}",
        f"{model.n_bytes / 1e6:,.0f} MB",
        _where(model),
    )


def _where(model: KnownModel) -> str:
    if model.name == PACKAGED_MODEL:
        return "[green]ships[/green]"
    if model.folder:
        return "[green]yes[/green]"
    return "no" if model.on_hub else "not on the hub"
