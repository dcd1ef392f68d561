"""The known models on a terminal: names, sizes, and which are here."""

from rich.console import Console
from rich.table import Table

from rankformer.model.checkpoint import find_folder, models_folder
from rankformer.model.registry import MODELS, PublishedModel


def render_models(console: Console | None = None) -> None:
    """Print one row a published model."""
    console = console or Console()
    table = Table(title="Geneformer models", title_justify="left", header_style="bold")
    table.add_column("model", no_wrap=True)
    table.add_column("also named")
    for heading in ("layers", "width", "input", "size"):
        table.add_column(heading, justify="right")
    table.add_column("here", no_wrap=True)
    for model in MODELS:
        table.add_row(*_row(model))
    console.print(table)
    console.print(
        "Fetch one: rankformer models fetch NAME. "
        f"Put by hand: {models_folder()}/NAME. Any folder works as a model too.",
        style="dim",
        soft_wrap=True,
    )


def _row(model: PublishedModel) -> tuple[str, ...]:
    others = "\n".join(name for name in model.names if name != model.name)
    here = find_folder(model)
    return (
        model.name,
        others,
        f"{model.n_layers}",
        f"{model.d_model}",
        f"{model.release.input_length:,}",
        f"{model.weights_bytes / 1e6:,.0f} MB",
        "[green]yes[/green]" if here else "no" if model.hub_folders else "no, not on the hub",
    )
