"""What became of the genes of a data set: mapped, by which rule, or lost, and why."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray

from rankformer.errors import MissingFileError, SettingsError, TableError
from rankformer.genes.mapping import GeneMapping
from rankformer.genes.rules import GeneFate, GeneRule
from rankformer.results.anndata_files import UNS_KEY
from rankformer.results.csv_tables import read_csv
from rankformer.show.canvas import SMALL, Panel, entitle, plain
from rankformer.show.cell_values import require
from rankformer.show.palette import CATEGORIES, INK, UP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MappedGenes: TypeAlias = (
    GeneMapping | AnnData | pd.DataFrame | Mapping[str, Any] | str | os.PathLike[str]
)
_MAPPED, _LOST = CATEGORIES[0], UP
_WIDTH = 2.4
_NEEDED = ("fate", "rule")


@dataclass(frozen=True, eq=False)
class MappingFigures:
    """Variables by what became of them.

    Attributes
    ----------
    rows
        ``name``, ``n_vars``, ``mapped``, and ``counts``, their share of all counts, or NaN.
    n_genes
        Different genes of the vocabulary that were met; None where that is not known.
    vocabulary
        Its name, or "".
    """

    rows: pd.DataFrame
    n_genes: int | None
    vocabulary: str

    @property
    def has_counts(self) -> bool:
        """Whether shares of counts are known."""
        return bool(self.rows["counts"].notna().any())

    @property
    def title(self) -> str:
        """How many variables were mapped, to how many genes."""
        n, all_ = self.rows.loc[self.rows["mapped"], "n_vars"].sum(), self.rows["n_vars"].sum()
        genes = "" if self.n_genes in (None, n) else f" to {self.n_genes:,} genes"
        return f"{n:,} of {all_:,} variables mapped{genes}"


def read_mapping(
    source: MappedGenes, key: str | None = None, counts: ArrayLike | None = None
) -> MappingFigures:
    """Figures of a mapping, of a gene report, or of what ``uns["rankformer"]`` says of one.

    Parameters
    ----------
    source
        See `rankformer.pl.gene_mapping`.
    key
        Of AnnData: the result whose genes are meant; the first that has some unless given.
    counts
        (n_vars,) counts of each variable over all cells.

    Raises
    ------
    SettingsError, TableError, MissingFileError
        If there is nothing of the kind.
    """
    if isinstance(source, GeneMapping):
        report = source.report()
        return _of_report(report, counts, source.vocabulary_name)
    if isinstance(source, str | os.PathLike):
        source = _read_report(Path(source))
    if isinstance(source, pd.DataFrame):
        return _of_report(source, counts, "")
    if isinstance(source, AnnData):
        source = source.uns.get(UNS_KEY, {})
    if not isinstance(source, Mapping):
        raise SettingsError(
            f"The genes are given as {type(source).__name__}.",
            "A GeneMapping, AnnData after rankformer.tl.embed, or a gene report.",
            "Pass one of these.",
        )
    if counts is not None:
        raise SettingsError(
            "counts are given with a summary, which does not tell variables apart.",
            "A GeneMapping or a gene report.",
            "Pass rankformer.map_genes(adata, model), or leave counts out.",
        )
    return _of_summaries(_summaries(source, key))


def mapping_size(figures: MappingFigures) -> Panel:
    """Axes for so many rows."""
    return Panel(_WIDTH, (0.34 if figures.has_counts else 0.2) * len(figures.rows) + 0.06)


def draw_mapping(ax: "Axes", figures: MappingFigures) -> None:
    """A bar for each rule and each loss, with its number; shares of counts beside."""
    rows = figures.rows
    n_vars = rows["n_vars"].to_numpy(dtype=float)
    shares = n_vars / max(n_vars.sum(), 1)
    colours = np.where(rows["mapped"], _MAPPED, _LOST)
    places = np.arange(len(rows), dtype=float)
    thick = 0.38 if figures.has_counts else 0.68
    shift = thick / 2 if figures.has_counts else 0.0
    ax.barh(places - shift, shares, thick, color=colours)
    texts = [f"{n:,.0f} ({_percent(share)})" for n, share in zip(n_vars, shares, strict=True)]
    _write(ax, places - shift, shares, texts)
    if figures.has_counts:
        counts = rows["counts"].to_numpy(dtype=float)
        ax.barh(places + shift, counts, thick, color=colours, alpha=0.45)
        _write(ax, places + shift, counts, [f"{_percent(each)} of counts" for each in counts])
    ax.set_yticks(places, rows["name"])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    ax.set_xlabel("share of variables" + (", and of their counts" if figures.has_counts else ""))
    plain(ax)
    ax.tick_params(axis="y", length=0)
    entitle(ax, figures.title)


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _write(
    ax: "Axes", places: NDArray[np.float64], ends: NDArray[np.float64], texts: list[str]
) -> None:
    for place, end, text in zip(places, ends, texts, strict=True):
        ax.annotate(text, (end, place), xytext=(2, 0), textcoords="offset points", va="center",
                    fontsize=SMALL, color=INK)  # fmt: skip


def _summaries(found: Mapping[str, Any], key: str | None) -> list[Mapping[str, Any]]:
    """Of each source what is said of its genes."""
    if "fates" in found:
        return [found]
    told = {name: each for name, each in found.items()
            if isinstance(each, Mapping) and "sources" in each}  # fmt: skip
    if "sources" in found:
        told = {"": found}
    if not told:
        raise SettingsError(
            'uns["rankformer"] says nothing of genes.',
            "AnnData after rankformer.tl.embed or `rankformer embed`.",
            "Embed the cells first, or pass rankformer.map_genes(adata, model).",
        )
    if key is not None:
        require(told, key, "key", 'uns["rankformer"]', "result")
    chosen = told[key] if key is not None else next(iter(told.values()))
    genes = [each["genes"] for each in chosen["sources"].values() if "genes" in each]
    if not genes:
        raise SettingsError(
            "The cells were read from saved tokens, which do not say what became of genes.",
            "Cells with counts.",
            "Draw the mapping of the file of counts: rankformer.map_genes(adata, model).",
        )
    return genes


def _of_summaries(genes: list[Mapping[str, Any]]) -> MappingFigures:
    rules = {str(rule): 0 for rule in GeneRule}
    fates = {str(fate): 0 for fate in GeneFate if fate != GeneFate.MAPPED}
    for each in genes:
        for name, n in each["rules"].items():
            rules[name] = rules.get(name, 0) + int(n)
        for name in fates:
            fates[name] += int(each["fates"].get(name, 0))
    n_genes = int(genes[0]["n_genes"]) if len(genes) == 1 else None
    rows = [(name, n, True, np.nan) for name, n in rules.items()]
    rows += [(name, n, False, np.nan) for name, n in fates.items()]
    return MappingFigures(_met(rows), n_genes, str(genes[0].get("vocabulary", "")))


def _of_report(report: pd.DataFrame, counts: ArrayLike | None, vocabulary: str) -> MappingFigures:
    missing = [name for name in _NEEDED if name not in report]
    if missing:
        raise TableError(
            f"The table has no column {' or '.join(missing)}.",
            "A gene report, as --gene-report writes it.",
            "Pass such a table, or rankformer.map_genes(adata, model).",
        )
    share = np.full(len(report), np.nan)
    if counts is not None:
        given = np.asarray(counts, dtype=float).ravel()
        if len(given) != len(report):
            raise SettingsError(
                f"counts has {len(given):,} values, and the report {len(report):,} variables.",
                "The counts of each variable over all cells.",
                "Pass adata.X.sum(axis=0) of the cells that were mapped.",
            )
        share = given / max(given.sum(), 1)
    fates = report["fate"].astype(str).to_numpy()
    is_mapped = fates == str(GeneFate.MAPPED)
    why = np.where(is_mapped, report["rule"].astype(str).to_numpy(), fates)
    rows = []
    for names, mapped in ((GeneRule, True), (GeneFate, False)):
        for name in map(str, names):
            own = (why == name) & (is_mapped == mapped)
            rows.append((name, int(own.sum()), mapped, share[own].sum() if own.any() else np.nan))
    n_genes = report.loc[is_mapped, "token"].nunique() if "token" in report else None
    return MappingFigures(_met(rows), n_genes, vocabulary)


def _met(rows: list[tuple[str, int, bool, float]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["name", "n_vars", "mapped", "counts"])
    return table[table["n_vars"] > 0].reset_index(drop=True)


def _read_report(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise MissingFileError(
            f"{path} does not exist.", "A gene report, as --gene-report writes it.",
            "Correct the path.",
        )  # fmt: skip
    return read_csv(path, keep_default_na=False)
