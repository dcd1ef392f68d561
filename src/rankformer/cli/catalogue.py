"""The commands that there are, each of which is imported when it is called."""

import copy
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import typer

from rankformer.cli.help_screen import HelpfulCommand, HelpfulGroup

START, TEACH = "To begin with", "To teach a model"
GENES, REST = "On genes", "Besides"


@dataclass(frozen=True)
class Entry:
    """A command, or a group of commands, as the list of all shows it.

    Attributes
    ----------
    place
        Where it is: a module of `rankformer.cli`, and what it is called there.
    summary
        What it does, in one line.
    heading
        Under which it stands in the list.
    example
        Words behind ``rankformer`` that work where ``make demo`` was run; none of a group.
    after
        The command whose example makes what this one reads, or words of one that makes it.
    """

    place: str
    summary: str
    heading: str
    example: str = ""
    after: str = ""

    @property
    def epilog(self) -> str:
        """What stands below the help."""
        return example(self.example, self.after) if self.example else ""


def example(words: str, after: str = "") -> str:
    """An example as it stands below the help of a command."""
    that = "that of " if " " not in after else ""
    when = f" (after {that}`rankformer {after}`)" if after else ""
    return f"Example{when}: rankformer {words}"


class LazyGroup(HelpfulGroup):
    """The group of all commands."""

    def __init__(self, *, commands: Any = None, **more: Any) -> None:  # noqa: ARG002  # of typer
        super().__init__(commands={}, **more)
        self.commands = _Commands()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the list of commands, for which none of them is imported."""
        listing = copy.copy(self)
        listing.commands = {
            name: HelpfulCommand(name, help=each.summary, rich_help_panel=each.heading)
            for name, each in entries().items()
        }
        HelpfulGroup.format_help(listing, ctx, formatter)


class _Commands(MutableMapping[str, Any]):
    """Name → command, imported when it is looked up."""

    def __init__(self) -> None:
        self._more: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._more[name] if name in self._more else _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter([*entries(), *self._more])

    def __len__(self) -> int:
        return len(entries()) + len(self._more)

    def __setitem__(self, name: str, command: Any) -> None:
        self._more[name] = command

    def __delitem__(self, name: str) -> None:
        del self._more[name]


@cache
def _load(name: str) -> Any:
    from rankformer.cli.command import command

    entry = entries()[name]
    module, _, attribute = entry.place.partition(":")
    found = getattr(import_module(f"rankformer.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        group = typer.main.get_command(found)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name, cls=HelpfulCommand, epilog=entry.epilog)(command(found))
    return typer.main.get_command(alone)


@cache
def entries() -> dict[str, Entry]:
    """Name → command, in the order of the list."""
    return {
        "example": Entry(
            "example:example", "Write a file of real cells to try the others on.", START,
            "example -o blood.h5ad",
        ),
        "inspect": Entry(
            "inspect:inspect", "Say what a file holds, and whether a model can read it.", START,
            "inspect demo-output/blood.h5ad",
        ),
        "embed": Entry(
            "embed:embed", "Compute the embedding of each cell, or of its genes.", START,
            "embed demo-output/blood.h5ad -o embedded.h5ad",
        ),
        "report": Entry(
            "report:report", "See on one page how good an embedding is.", START,
            "report demo-output/blood.h5ad -o report.html --labels cell_type",
        ),
        "annotate": Entry(
            "annotate:annotate", "Give cells the labels of labelled reference cells.", START,
            "annotate demo-output/blood.h5ad -r demo-output/blood.h5ad --label cell_type "
            "-o labelled.h5ad",
        ),
        "evaluate": Entry(
            "evaluate:evaluate", "Measure how good embeddings or labels are.", START,
            "evaluate demo-output/blood.h5ad -o evaluation --label cell_type --key X_geneformer "
            "--seeds 2",
        ),
        "perturb": Entry(
            "perturb:perturb", "Delete or move genes in silico: how far do cells move?", GENES,
            "perturb demo-output/blood.h5ad -o perturbed.parquet --method screen --n-cells 50",
        ),
        "perturb-test": Entry(
            "perturb_test:perturb_test", "Test which perturbed genes do more than chance would.",
            GENES, "perturb-test perturbed.parquet -o tested.csv --plot volcano.png", "perturb",
        ),
        "network": Entry(
            "network:network", "Build a network of genes: which genes act on which.", GENES,
            "network demo-output/blood.h5ad -o network.graphml --where cell_type=Dendritic "
            "--n-cells 20",
        ),
        "finetune": Entry(
            "finetune:finetune", "Teach a model labels of cells, or of genes, and test it.", TEACH,
            "finetune demo-output/blood.h5ad -o my-model --label cell_type --epochs 3",
        ),
        "predict": Entry(
            "predict:predict", "Predict labels by a model that was fine-tuned.", TEACH,
            "predict demo-output/blood.h5ad -o predicted.h5ad --model my-model", "finetune",
        ),
        "pretrain": Entry(
            "pretrain:pretrain", "Train a model on cells without labels.", TEACH,
            "pretrain demo-output/blood.h5ad -o my-pretrained --model rankformer-mini --epochs 1",
        ),
        "tokenize": Entry(
            "tokenize:tokenize", "Write each cell as the tokens of its genes.", REST,
            "tokenize demo-output/blood.h5ad -o tokens",
        ),
        "merge": Entry(
            "merge:merge", "Join the shards of a long run to one file.", REST,
            "merge shards -o all.h5ad", "embed demo-output/blood.h5ad -o shards",
        ),
        "vocabulary": Entry(
            "vocabulary:vocabulary_app", "Build the vocabulary of a new model, or show one.", REST
        ),
        "models": Entry(
            "models:models_app", "List the models that rankformer knows, or download one.", REST
        ),
        "bench": Entry(
            "bench:bench", "Measure how many cells a model embeds in a second here.", REST,
            "bench --model rankformer-mini",
        ),
        "mcp": Entry(
            "mcp:mcp", "Let an agent do it, by the Model Context Protocol.", REST,
            "mcp --folder demo-output",
        ),
    }  # fmt: skip
