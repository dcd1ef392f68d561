"""The known models on a terminal: names, sizes, and which are here."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rankformer.checkpoints.find import models_folder
from rankformer.checkpoints.known_models import KnownModel, list_models
from rankformer.checkpoints.registry import PACKAGED_MODEL
from rankformer.show.screen import Screen

_WIDTH_OF_ALL = 78


def render_models(console: Console | None = None) -> None:
    """Print one row a model, its other names below the first; what has no room is left out."""
    console = console or Screen()
    shape = ("layers", "width") if console.width >= _WIDTH_OF_ALL else ()
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("model", no_wrap=True)
    for heading in (*shape, "input", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("here")
    for model in list_models():
        table.add_row(*(_row(model)[each] for each in ("model", *shape, "input", "size", "here")))
    console.print(table)
    console.print(
        "Each name works, and so does the folder of a model.\n"
        "Fetch one: rankformer models fetch NAME\n"
        f"Put by hand: {escape(str(models_folder()))}/NAME",
        style="dim",
        soft_wrap=True,
    )


def _row(model: KnownModel) -> dict[str, str]:
    others = [f"[dim]  {name}[/dim]" for name in model.other_names]
    return {
        "model": "\n".join([model.name, *others]),
        "layers": f"{model.n_layers}",
        "width": f"{model.d_model:,}",
        "input": f"{model.input_length:,}",
        "size": f"{model.n_bytes / 1e6:,.0f} MB",
        "here": _where(model),
    }


def _where(model: KnownModel) -> str:
    if model.name == PACKAGED_MODEL:
        return "[green]ships[/green]"
    if model.folder:
        return "[green]yes[/green]"
    return "no" if model.on_hub else "not on the hub"
