"""Tables of gene names that a user brings: HGNC, any two columns, a pyensembl database."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from rankformer.errors import GeneError
from rankformer.extras import install_command
from rankformer.genes.columns import BIOTYPE_COLUMNS
from rankformer.genes.species import HUMAN, gene_id_of, species_of_gene_id
from rankformer.genes.table_files import read_rows

Names = Mapping[str, tuple[str, ...]]

_ENSEMBL_COLUMNS = (
    "ensembl_gene_id",
    "ensembl_id",
    "ensembl_ids",
    "ensembl",
    "gene_id",
    "gene_ids",
    "Gene stable ID",
    "Gene stable ID version",
    "Ensembl gene ID",
    "human_ensembl_id",
)
_NAME_COLUMNS = (
    "symbol",
    "gene_symbol",
    "Approved symbol",
    "gene_name",
    "Gene name",
    "feature_name",
    "hgnc_symbol",
    "name",
    "gene",
)
_ALIAS_COLUMNS = ("alias_symbol", "Alias symbols")
_PREVIOUS_COLUMNS = ("prev_symbol", "Previous symbols")


@dataclass(frozen=True, eq=False)
class GeneTable:
    """Names of genes and the Ensembl ids they stand for.

    Attributes
    ----------
    symbols
        Approved symbol, or any other identifier, → its Ensembl ids.
    previous, aliases
        Previous symbol → Ensembl ids, alias → Ensembl ids. More than one: the name is ambiguous.
    name
        Where the table came from, for messages and provenance.
    biotypes
        Ensembl id → biotype, such as ``protein_coding``; where the table has them.
    """

    symbols: Names
    previous: Names
    aliases: Names
    name: str
    biotypes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_columns(
        cls,
        identifiers: Iterable[Any],
        ensembl_ids: Iterable[Any],
        *,
        name: str = "custom",
        any_species: bool = False,
    ) -> "GeneTable":
        """Make a table of two columns of one length: identifiers and human Ensembl ids.

        Rows without a human Ensembl id are left aside, unless `any_species` takes those of all
        species; versions are removed.
        """
        pairs = zip(identifiers, _gene_ids(ensembl_ids, any_species), strict=True)
        return cls(_collect(pairs), _NONE, _NONE, name)

    @cached_property
    def upper_case(self) -> tuple[Names, Names, Names]:
        """The three tables with upper-cased names: names that fall together add their genes."""
        return _fold(self.symbols), _fold(self.previous), _fold(self.aliases)

    def __len__(self) -> int:
        return len(self.symbols)

    def __repr__(self) -> str:
        return (
            f"GeneTable({self.name!r}: {len(self.symbols):,} identifiers, "
            f"{len(self.previous):,} previous symbols, {len(self.aliases):,} aliases)"
        )


_NONE: Names = MappingProxyType({})


def read_gene_table(
    path: str | os.PathLike[str],
    *,
    identifier: str | None = None,
    ensembl_id: str | None = None,
    any_species: bool = False,
) -> GeneTable:
    """Read a table of gene names.

    Parameters
    ----------
    path
        CSV or tab-separated text with a header line, gzipped or not. The HGNC's complete set, with
        its approved, previous and alias symbols, is recognised by its column names.
    identifier
        Column of the identifiers that the data use. Recognised by its name, or as the other one
        of two columns, unless given. Only this column is read then, no aliases beside it.
    ensembl_id
        Column of the human Ensembl gene ids. Recognised by its name or content unless given.
    any_species
        Take the Ensembl ids of any species, for a vocabulary that is not human.

    Raises
    ------
    GeneError
        If the file is not such a table, a column is missing, or no such Ensembl id is in it.

    Examples
    --------
    >>> import rankformer
    >>> import pandas as pd
    >>> names = pd.DataFrame({"symbol": ["P53"], "ensembl_id": ["ENSG00000141510"]})
    >>> names.to_csv("names.csv", index=False)
    >>> table = rankformer.read_gene_table("names.csv")
    >>> options = rankformer.ReadingOptions(gene_table=table)
    """
    path = Path(path)
    rows = read_rows(path, "gene table", "gene_table=…, --gene-table")
    by_id = ensembl_id or _known(rows, _ENSEMBL_COLUMNS) or _column_of_ids(rows, any_species)
    written = _take_column(rows, by_id, "ensembl_id", path)
    ids = _gene_ids(written, any_species)
    by_name = identifier or _known(rows, _NAME_COLUMNS) or _other_of_two(rows, by_id)
    symbols = _collect(zip(_take_column(rows, by_name, "identifier", path), ids, strict=True))
    if not symbols:
        raise GeneError(
            f"The column {by_id} of {path} holds no {'' if any_species else 'human '}Ensembl gene "
            f"id (it has {_few(written)}).",
            "Ids such as ENSG00000141510.",
            "Name another column: read_gene_table(path, ensembl_id=…) (--ensembl-column). "
            f"There are {', '.join(rows.columns)}.",
        )
    biotypes = _collect_biotypes(rows, ids)
    if identifier is not None:
        return GeneTable(symbols, _NONE, _NONE, path.name, biotypes)
    previous = _collect_lists(rows, _PREVIOUS_COLUMNS, ids)
    aliases = _collect_lists(rows, _ALIAS_COLUMNS, ids)
    return GeneTable(symbols, previous, aliases, path.name, biotypes)


def open_pyensembl(release: int) -> Any:
    """The human genome of an Ensembl release, as pyensembl names it; nothing is downloaded.

    Raises
    ------
    GeneError
        If pyensembl is missing, or does not know the release.
    """
    _require_pyensembl()
    import pyensembl

    try:
        return pyensembl.EnsemblRelease(release, species="human")  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise GeneError(
            f"pyensembl knows no human Ensembl release {release}: {error}.",
            "A release that `pyensembl list` shows as installed.",
            "Pass another number (--ensembl-release).",
        ) from error


def gene_table_from_pyensembl(genome: Any) -> GeneTable:
    """Take the gene names of a pyensembl database that is already on this machine.

    Parameters
    ----------
    genome
        A ``pyensembl.Genome`` or ``pyensembl.EnsemblRelease``, installed and indexed. Nothing is
        downloaded.

    Raises
    ------
    GeneError
        If pyensembl is missing, or the database is not indexed or not of human genes.
    """
    _require_pyensembl()
    label = f"pyensembl {genome}"
    genes = _read_pyensembl(genome, label)
    table = GeneTable.from_columns(*zip(*genes, strict=True), name=label) if genes else None
    if table:
        return table
    raise GeneError(
        f"{label} holds no human gene with a name.",
        "A database of the human genome, with Ensembl gene ids.",
        "Pass pyensembl_genome=pyensembl.EnsemblRelease(release), species human.",
    )


def _require_pyensembl() -> None:
    try:
        import pyensembl  # noqa: F401
    except ImportError as error:
        raise GeneError(
            "pyensembl is not installed.",
            "It is needed to read gene names from a pyensembl database.",
            f"Install it with `{install_command('genes')}`.",
        ) from error


def _read_pyensembl(genome: Any, label: str) -> list[tuple[str, str]]:
    try:
        # `genome.db` would offer to make the database; `required_local_files_exist` never fetches.
        if not genome.required_local_files_exist():
            raise FileNotFoundError("its files are not on this machine")
        return [
            (name, gene_id)
            for name, gene_id in genome.db.query(
                select_column_names=["gene_name", "gene_id"],
                filter_column="feature",
                filter_value="gene",
                feature="gene",
                distinct=True,
            )
            if name
        ]
    # pyensembl raises whatever sqlite, pandas and the file system raise.
    except Exception as error:
        raise GeneError(
            f"{label} cannot be read: {error}.",
            "A database that is installed and indexed on this machine; nothing is downloaded here.",
            "Run `pyensembl install --release RELEASE --species human`, or genome.index().",
        ) from error


def _known(rows: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in rows), None)


def _column_of_ids(rows: pd.DataFrame, any_species: bool) -> str | None:
    """Name the one column that mostly holds Ensembl ids."""
    found = [
        str(name)
        for name in rows
        if 2 * sum(each is not None for each in _gene_ids(rows[name], any_species)) > len(rows)
    ]
    return found[0] if len(found) == 1 else None


def _other_of_two(rows: pd.DataFrame, column: str | None) -> str | None:
    others = [str(name) for name in rows if name != column]
    return others[0] if len(others) == 1 else None


def _take_column(
    rows: pd.DataFrame, name: str | None, argument: str, path: Path
) -> "pd.Series[str]":
    if name is not None and name in rows:
        return rows[name]
    missing = f"no column {name!r}" if name else f"no column that is known to be the {argument}"
    raise GeneError(
        f"{path} has {missing}; it has {', '.join(rows.columns)}.",
        "A header line, a column of identifiers and one of human Ensembl gene ids.",
        "Name the columns: read_gene_table(path, identifier=…, ensembl_id=…) "
        "(--identifier-column, --ensembl-column), or keep only these two.",
    )


def _gene_ids(values: Iterable[Any], any_species: bool) -> list[str | None]:
    """Human Ensembl ids without version, or those of any species; None where there is none."""

    def gene_id(text: str) -> str | None:
        plain = gene_id_of(text)
        is_taken = any_species or (plain and species_of_gene_id(plain) == HUMAN)
        return plain if is_taken else None

    return [gene_id(str(value).strip()) for value in values]


def _collect_lists(
    rows: pd.DataFrame, columns: tuple[str, ...], ids: Iterable[str | None]
) -> Names:
    column = _known(rows, columns)
    if column is None:
        return _NONE
    separator = "|" if column.islower() else ","
    pairs = (
        pair
        for names, gene_id in zip(rows[column], ids, strict=True)
        if names
        for pair in zip(names.strip('"').split(separator), repeat(gene_id))
    )
    return _collect(pairs)


def _collect_biotypes(rows: pd.DataFrame, ids: Iterable[str | None]) -> Mapping[str, str]:
    column = _known(rows, BIOTYPE_COLUMNS)
    if column is None:
        return MappingProxyType({})
    return MappingProxyType(
        {gene: biotype for gene, biotype in zip(ids, rows[column], strict=True) if gene and biotype}
    )


def _collect(pairs: Iterable[tuple[Any, str | None]]) -> Names:
    """Gather name → Ensembl ids, each once, in the order met."""
    found: dict[str, tuple[str, ...]] = {}
    for name, gene_id in pairs:
        key = str(name).strip()
        if gene_id and key and gene_id not in found.get(key, ()):
            found[key] = (*found.get(key, ()), gene_id)
    return MappingProxyType(found)


def _fold(names: Names) -> Names:
    found: dict[str, tuple[str, ...]] = {}
    for name, ids in names.items():
        known = found.get(name.upper(), ())
        found[name.upper()] = known + tuple(each for each in ids if each not in known)
    return MappingProxyType(found)


def _few(values: Iterable[str], most: int = 3) -> str:
    listed = list(dict.fromkeys(values))
    return ", ".join(listed[:most]) + ("…" if len(listed) > most else "")
