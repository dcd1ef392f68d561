"""What tools give back: figures, paths of files that were written, and a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankformer.mcp.plain_data import first
from rankformer.printable import printable

if TYPE_CHECKING:
    from rankformer.tokens.token_sources import TokenSource


@dataclass(frozen=True, kw_only=True)
class Result:
    """What each tool gives back beside its figures.

    Attributes
    ----------
    warnings
        What may change conclusions.
    messages
        What was taken and found.
    """

    warnings: Sequence[str] = ()
    messages: Sequence[str] = ()

    def sentence(self) -> str:
        """In words what was done."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class GenesFound:
    """How the genes of an input were mapped; empty for tokens.

    Attributes
    ----------
    file, n_cells
        The input, and its cells.
    identifiers
        Where they stand: "index", or a column of var.
    n_variables, n_variables_mapped, n_genes
        Variables of the file, those that are genes of the model, and the genes that they are.
    """

    file: Path
    n_cells: int
    identifiers: str | None = None
    n_variables: int | None = None
    n_variables_mapped: int | None = None
    n_genes: int | None = None


def genes_found(streams: "Sequence[TokenSource]") -> tuple[GenesFound, ...]:
    """What became of the genes of inputs that were opened."""
    return tuple(map(_genes_found, first(streams)))


def _genes_found(stream: "TokenSource") -> GenesFound:
    from rankformer.tokens.tokenize import TokenStream

    if not isinstance(stream, TokenStream):
        return GenesFound(file=Path(stream.name), n_cells=len(stream))
    mapping = stream.mapping
    return GenesFound(
        file=Path(stream.name), n_cells=len(stream), identifiers=mapping.column,
        n_variables=mapping.n_vars, n_variables_mapped=mapping.n_mapped, n_genes=mapping.n_genes,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OfCells(Result):
    """A file that was written, from which inputs, by which model."""

    output: Path
    model: str
    inputs: Sequence[GenesFound] = ()

    @property
    def n_cells(self) -> int:
        return sum(each.n_cells for each in self.inputs)


@dataclass(frozen=True, kw_only=True)
class Embedded(OfCells):
    """Embeddings that were written.

    Attributes
    ----------
    mode, d_model
        What was embedded, and the length of each vector.
    key
        Their name in obsm, where the output is AnnData.
    """

    mode: str
    d_model: int
    key: str | None

    def sentence(self) -> str:
        what = "genes in cells" if self.mode == "gene" else "cells"
        return (
            f"Wrote {printable(str(self.output))}: embeddings of {what}, from {self.n_cells:,} "
            f"cells, {self.d_model:,} numbers each, by {printable(self.model)}."
        )


@dataclass(frozen=True, kw_only=True)
class Labelled(OfCells):
    """Labels that were written.

    Attributes
    ----------
    labels
        Name of each result → label → cells that got it, most frequent first.
    """

    labels: Mapping[str, Mapping[str, int]]

    def sentence(self) -> str:
        return f"Wrote {printable(str(self.output))}: labels of {self.n_cells:,} cells."


@dataclass(frozen=True, kw_only=True)
class Perturbed(Result):
    """Perturbations that were written, or what they would take.

    Attributes
    ----------
    output
        The table, or None where it was only asked what it would take.
    n_rows
        Perturbations in it.
    n_cells, n_forward_passes, seconds, n_bytes
        Where asked for: cells, runs of the model, and about how long and how much disk.
    """

    model: str
    inputs: Sequence[GenesFound] = ()
    output: Path | None = None
    n_rows: int | None = None
    n_cells: int | None = None
    n_forward_passes: int | None = None
    seconds: float | None = None
    n_bytes: int | None = None

    def sentence(self) -> str:
        if self.output is not None:
            return f"Wrote {printable(str(self.output))}: {self.n_rows:,} perturbations."
        return (
            f"Nothing was written. It would take about {self.seconds:,.0f} s on this machine: "
            f"{self.n_forward_passes:,} runs of the model for {self.n_cells:,} cells."
        )


@dataclass(frozen=True, kw_only=True)
class Tested(Result):
    """Perturbations that were tested.

    Attributes
    ----------
    output, plot
        The table, and the picture where one was asked for.
    n_perturbations, n_significant
        All of them, and those with a q value below 0.05, or None where the test has none.
    top
        The first rows of the table, the strongest first.
    """

    output: Path
    plot: Path | None
    n_perturbations: int
    n_significant: int | None
    top: Sequence[Mapping[str, Any]]

    def sentence(self) -> str:
        told = f"Wrote {printable(str(self.output))}: {self.n_perturbations:,} perturbations"
        if self.n_significant is None:
            return f"{told}."
        return f"{told}, of which {self.n_significant:,} have a q value below 0.05."


@dataclass(frozen=True, kw_only=True)
class Reported(Result):
    """A page that was written, and what to be careful of."""

    output: Path
    n_cells: int
    n_cells_shown: int
    cautions: Sequence[str]

    def sentence(self) -> str:
        return f"Wrote {printable(str(self.output))}: open it in a browser."


@dataclass(frozen=True, kw_only=True)
class ModelHere:
    """A model that has a name; see `KnownModel`."""

    name: str
    other_names: Sequence[str]
    n_layers: int
    d_model: int
    input_length: int
    n_bytes: int
    trained_on: str
    left_out: str | None
    dictionary: str
    licence: str
    note: str | None
    is_here: bool
    is_on_hub: bool


@dataclass(frozen=True, kw_only=True)
class Models(Result):
    """The models that have a name."""

    models: Sequence[ModelHere]

    def sentence(self) -> str:
        here = [each.name for each in self.models if each.is_here]
        return f"On this machine: {', '.join(here)}."


@dataclass(frozen=True, kw_only=True)
class Fetched(Result):
    """A model that was downloaded."""

    model: str
    folder: Path

    def sentence(self) -> str:
        return f"{printable(self.model)} is on this machine now."
