"""The known models on a terminal: names, sizes, and which are here."""

from rich.console import Console
from rich.table import Table

from rankformer.model.checkpoint import find_folder, models_folder, packaged_folder
from rankformer.model.registry import MODELS, PACKAGED_MODEL, PublishedModel
from rankformer.model.spec import CONFIG_FILE, WEIGHTS_FILES, EncoderSpec


def render_models(console: Console | None = None) -> None:
    """Print one row a published model, its other names below the first; within 80 columns."""
    console = console or Console(highlight=False)
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("model", no_wrap=True)
    for heading in ("layers", "width", "input", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("here")
    table.add_row(*_packaged_row())
    for model in MODELS:
        table.add_row(*_row(model))
    console.print(table)
    console.print(
        "Each name works, and so does the folder of a model.\n"
        "Fetch one: rankformer models fetch NAME\n"
        f"Put by hand: {models_folder()}/NAME",
        style="dim",
        soft_wrap=True,
    )


def _packaged_row() -> tuple[str, ...]:
    folder = packaged_folder()
    spec = EncoderSpec.read(folder / CONFIG_FILE)
    return (
        PACKAGED_MODEL,
        f"{spec.n_layers}",
        f"{spec.d_model:,}",
        f"{spec.max_positions:,}",
        f"{(folder / WEIGHTS_FILES[0]).stat().st_size / 1e6:,.0f} MB",
        "[green]ships[/green]",
    )


def _row(model: PublishedModel) -> tuple[str, ...]:
    others = [f"[dim]  {name}[/dim]" for name in model.names if name != model.name]
    here = find_folder(model)
    return (
        "\n".join([model.name, *others]),
        f"{model.n_layers}",
        f"{model.d_model:,}",
        f"{model.release.input_length:,}",
        f"{model.weights_bytes / 1e6:,.0f} MB",
        "[green]yes[/green]" if here else "no" if model.hub_folders else "not on the hub",
    )
