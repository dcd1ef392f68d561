"""An inspection of a file in figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankformer.mcp.plain_data import first, name_shown
from rankformer.mcp.results import Result
from rankformer.printable import printable

if TYPE_CHECKING:
    import pandas as pd

    from rankformer.tokens.inspection import Inspection, ModelMatch

_MOST_VALUES = 10
_FLAGS = ("--use-raw", "--undo-log1p")
_NAMES_OF_OPTIONS = {"-o": "output"}


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A matrix of a file.

    Attributes
    ----------
    holds
        What its values are, or why it cannot be read.
    is_taken
        Whether it is that with the counts.
    """

    location: str
    shape: Sequence[int] | None
    holds: str
    is_taken: bool


@dataclass(frozen=True, kw_only=True)
class ObsColumn:
    """A column of obs.

    Attributes
    ----------
    n_values
        Different values.
    most_frequent
        Value → cells, of text and categories only.
    """

    name: str
    kind: str
    n_values: int
    most_frequent: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Identifiers:
    """What stands in the index of var, or in one of its columns."""

    place: str
    kind: str
    species: str
    examples: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class GenesOfModels:
    """How the genes of a file meet the vocabulary that some models share.

    Attributes
    ----------
    identifiers
        Where the names of genes stand that are taken, or None where none can be.
    median_genes_a_cell, cropped_share
        Genes of the vocabulary in a cell, and the share of the cells with more than a model reads.
    problem
        Why the file cannot be used with them, or None.
    """

    models: Sequence[str]
    identifiers: str | None
    n_variables_mapped: int | None
    n_genes: int | None
    median_genes_a_cell: float | None
    cropped_share: float | None
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class Inspected(Result):
    """What a file holds.

    Attributes
    ----------
    n_cells, n_variables
        None where no counts were found.
    problem
        Why no counts were found, or None.
    embed_with
        Parameters of the tool `embed` that suit the file, or None where it cannot be embedded.
    """

    file: Path
    n_cells: int | None
    n_variables: int | None
    matrices: Sequence[Matrix]
    obs: Sequence[ObsColumn]
    n_obs_columns: int
    identifiers: Sequence[Identifiers]
    models: Sequence[GenesOfModels]
    problem: str | None
    embed_with: Mapping[str, Any] | None

    def sentence(self) -> str:
        file = printable(str(self.file))
        if self.embed_with is None:
            return f"{file} cannot be embedded as it is; see problem, here and of each model."
        return f"{file} has {self.n_cells:,} cells and {self.n_variables:,} variables."


def describe_inspection(found: "Inspection") -> Inspected:
    """The figures of an inspection."""
    import pandas as pd

    cells = found.cells
    obs = pd.DataFrame() if cells is None else cells.obs
    return Inspected(
        file=Path(found.path),
        n_cells=None if cells is None else cells.n_cells,
        n_variables=None if cells is None else cells.n_vars,
        matrices=[
            Matrix(
                location=name_shown(each.location), shape=each.shape,
                holds=str(each.figures or each.problem or "cannot be read"),
                is_taken=cells is not None and each.location == cells.location,
            )
            for each in first(found.matrices)
        ],
        obs=[_column(str(name), obs[name]) for name in first(obs.columns)],
        n_obs_columns=obs.shape[1],
        identifiers=[
            Identifiers(
                place=name_shown(name), kind=each.kind, species=each.species,
                examples=[name_shown(gene) for gene in first(each.examples)],
            )
            for name, each in first(found.identifiers.items())
        ],
        models=[_genes(each) for each in first(found.matches)],
        problem=None if found.problem is None or cells is not None else str(found.problem),
        embed_with=None if found.arguments is None else _as_parameters(found.arguments),
    )  # fmt: skip


def _column(name: str, column: "pd.Series[Any]") -> ObsColumn:
    import pandas as pd

    is_text = not pd.api.types.is_numeric_dtype(column.dtype)
    counts = column.value_counts()
    counts = counts[counts > 0]
    most = counts.head(_MOST_VALUES) if is_text else counts.head(0)
    return ObsColumn(
        name=name_shown(name), kind=str(column.dtype), n_values=len(counts),
        most_frequent={name_shown(value): int(n) for value, n in most.items()},
    )  # fmt: skip


def _genes(match: "ModelMatch") -> GenesOfModels:
    mapping, genes = match.mapping, match.genes_per_cell
    return GenesOfModels(
        models=match.models,
        identifiers=None if mapping is None else name_shown(mapping.column),
        n_variables_mapped=None if mapping is None else mapping.n_mapped,
        n_genes=None if mapping is None else mapping.n_genes,
        median_genes_a_cell=None if genes is None else genes.median,
        cropped_share=None if genes is None else genes.cropped_share,
        problem=None if match.problem is None else str(match.problem),
    )


def _as_parameters(arguments: Sequence[str]) -> dict[str, Any]:
    """Arguments of the command line, ``[FILE, "-o", OUTPUT, …]``, as parameters of a tool."""
    words = iter(arguments)
    given: dict[str, Any] = {"sources": [Path(next(words))]}
    for word in words:
        name = _NAMES_OF_OPTIONS.get(word, word.removeprefix("--").replace("-", "_"))
        # A layer may be called like an option: what follows one that takes a value is its value.
        given[name] = True if word in _FLAGS else next(words)
    return given
