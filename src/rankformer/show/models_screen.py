"""The known models on a terminal: what each one is, its names, and which are here."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from rankformer.checkpoints.find import models_folder
from rankformer.checkpoints.known_models import KnownModel, list_models
from rankformer.checkpoints.registry import PACKAGED_MODEL
from rankformer.show.screen import Screen


def render_models(console: Console | None = None) -> None:
    """Print a paragraph for each model."""
    console = console or Screen()
    for model in list_models():
        console.print(f"[bold]{model.name}[/bold]  {model.n_bytes / 1e6:,.0f} MB, {_where(model)}")
        for line in _about(model):
            console.print(Padding(escape(line), (0, 0, 0, 2)))
        console.print()
    console.print(
        "Each name works, and so does the folder of a model.\n"
        "Fetch one: rankformer models fetch NAME\n"
        f"Put by hand: {escape(str(models_folder()))}/NAME",
        style="dim",
        soft_wrap=True,
    )


def _about(model: KnownModel) -> Iterator[str]:
    yield (
        f"{model.n_layers} layers, width {model.d_model:,}, input {model.input_length:,}; "
        f"dictionary {model.dictionary}; {model.licence}"
    )
    yield f"Trained on {model.trained_on}. Left out: {model.left_out or 'not known'}."
    if model.note is not None:
        yield model.note
    names = {"Helical": model.helical_names, "Hub": model.package_names}
    known = [f"{who}: {', '.join(each)}" for who, each in names.items() if each]
    yield from ["; ".join(known)] if known else []


def _where(model: KnownModel) -> str:
    if model.name == PACKAGED_MODEL:
        return "[green]ships with rankformer[/green]"
    if model.folder:
        return "[green]here: yes[/green]"
    return "here: no" if model.on_hub else "here: no, and not on the hub"
