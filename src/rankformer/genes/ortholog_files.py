"""Tables of orthologs: HCOP's, exports of Ensembl BioMart, and MGI's, told by their headers."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from rankformer.errors import GeneError, SettingsError, expect_type
from rankformer.genes.ortholog_choice import OrthologChoice
from rankformer.genes.orthologs import OrthologPair, OrthologTable
from rankformer.genes.species import (
    HUMAN,
    gene_id_of,
    known_species,
    species_of_gene_id,
)
from rankformer.genes.table_files import read_rows

_BIOMART_ID, _BIOMART_NAME = "gene stable ID", "gene name"
# Without the name of a species they are of that which the export is of.
_BIOMART_MAIN = ("Gene stable ID", "Gene name")
_ONE_TO_ONE = "ortholog_one2one"
_HCOP_ID, _HCOP_SYMBOL = "_ensembl_gene", "_symbol"
_MGI_KEYS = ("DB Class Key", "HomoloGene ID")
_MGI_SPECIES = "NCBI Taxon ID"
_TAXA: Mapping[str, str] = MappingProxyType(
    {
        HUMAN: "9606",
        "mouse": "10090",
        "rat": "10116",
        "zebrafish": "7955",
        "rhesus macaque": "9544",
        "chimpanzee": "9598",
        "dog": "9615",
        "cow": "9913",
        "chicken": "9031",
        "western clawed frog": "8364",
    }
)


@dataclass(frozen=True)
class _Row:
    """One row: ids and symbols are "" where it has none."""

    gene_id: str
    symbol: str
    human_id: str
    human_symbol: str
    support: tuple[float, ...] = ()
    is_one_to_one: bool | None = None


def read_orthologs(
    path: str | os.PathLike[str],
    species: str,
    *,
    choice: OrthologChoice = "one-to-one",
) -> OrthologTable:
    r"""Read a table of orthologs of human genes.

    Parameters
    ----------
    path
        CSV or tab-separated text with a header line, gzipped or not. Three layouts are recognised
        by their headers: the bulk downloads of HCOP (``mouse_ensembl_gene``, ``support``, …),
        exports of Ensembl BioMart from human or from the species (``Gene stable ID``,
        ``Mouse gene stable ID``, ``Mouse homology type``, …), and the homology reports of MGI
        (``DB Class Key``, ``NCBI Taxon ID``, ``Symbol``, …).
    species
        Whose genes are to be taken for human ones, such as ``"mouse"`` or ``"rat"``.
    choice
        Which orthologs are taken. ``"one-to-one"``: only genes of which each is the only ortholog
        of the other. ``"best"``: also, of several, the pair that the table supports best: the most
        databases of HCOP, or the orthology confidence and then the identities of BioMart.
        ``"summed"``: the counts of all genes that are orthologs of one human gene are summed; a
        gene with several human orthologs goes to the best supported of them, and to none where two
        have as much support.

    Returns
    -------
    The table, for `orthologs` of the functions that read counts.

    Raises
    ------
    GeneError
        If the file is no such table, or has no gene of the species.
    SettingsError
        If species is no text, no species of this name is known, it is human, or the table cannot
        give the choice.

    Examples
    --------
    >>> import pandas as pd
    >>> import rankformer
    >>> row = {"human_ensembl_gene": "ENSG00000141510", "human_symbol": "TP53",
    ...        "mouse_ensembl_gene": "ENSMUSG00000059552", "mouse_symbol": "Trp53",
    ...        "support": "Ensembl,OMA,Panther"}
    >>> pd.DataFrame([row]).to_csv("hcop.txt", sep="\t", index=False)
    >>> rankformer.read_orthologs("hcop.txt", "mouse")
    OrthologTable('hcop.txt': 1 genes of mouse, one-to-one)
    """
    path, species = Path(path), _expect_species(species)
    rows = read_rows(path, "table of orthologs", "orthologs=…, --orthologs")
    read = _reader(rows, path)
    found = [row for row in read(rows, species) if row.gene_id or row.symbol]
    pairs = [
        OrthologPair(
            row.gene_id or row.symbol, row.human_id or row.human_symbol,
            row.support, row.is_one_to_one,
        )
        for row in found if row.human_id or row.human_symbol
    ]  # fmt: skip
    if not pairs:
        raise GeneError(
            f"{path} has no pair of a gene of {species} and a human gene{_species_in(rows)}.",
            f"Orthologs of {species} and human, with Ensembl ids or symbols.",
            "Download the table of this species, or correct the name of the species (--species).",
        )
    symbols: dict[str, tuple[str, ...]] = {}
    for row in found:
        key, known = row.gene_id or row.symbol, symbols.get(row.symbol, ())
        if row.symbol and key not in known:
            symbols[row.symbol] = (*known, key)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return OrthologTable(species, choice, pairs, MappingProxyType(symbols), path.name, sha256)


def _expect_species(name: str) -> str:
    known = known_species()
    expected = f"One of {', '.join(each for each in known if each != HUMAN)}."
    expect_type(name, str, "species", expected, "Name the species that the file is of.")
    found = next((each for each in known if each.casefold() == name.strip().casefold()), None)
    if found is not None and found != HUMAN:
        return found
    what = "Genes of human need no orthologs" if found else f"No species {name!r} is known"
    raise SettingsError(
        f"{what}.",
        expected,
        "Correct species (--species), or leave it and the orthologs out for a human file.",
    )


_Read = Callable[[pd.DataFrame, str], Iterator[_Row]]


def _reader(rows: pd.DataFrame, path: Path) -> _Read:
    columns = [str(each) for each in rows]
    if any(each in columns for each in _MGI_KEYS) and {_MGI_SPECIES, "Symbol"} <= set(columns):
        return _read_mgi
    if f"human{_HCOP_ID}" in columns and _hcop_species(columns):
        return _read_hcop
    if _biomart_others(columns):
        return _read_biomart
    raise GeneError(
        f"{path} is not known as a table of orthologs; it has the columns {', '.join(columns)}.",
        "HCOP's (human_ensembl_gene, mouse_ensembl_gene, support), Ensembl BioMart's (Gene stable "
        "ID, Mouse gene stable ID, Mouse homology type) or MGI's (DB Class Key, NCBI Taxon ID, "
        "Symbol).",
        "Download such a table, with its header line (orthologs=…, --orthologs).",
    )


def _read_hcop(rows: pd.DataFrame, species: str) -> Iterator[_Row]:
    for prefix in _hcop_species([str(each) for each in rows]):
        own = _of_species(rows, f"{prefix}{_HCOP_ID}", species)
        yield from map(
            _Row, _ids(own, f"{prefix}{_HCOP_ID}", species), _texts(own, f"{prefix}{_HCOP_SYMBOL}"),
            _ids(own, f"human{_HCOP_ID}", HUMAN), _texts(own, f"human{_HCOP_SYMBOL}"),
            ((float(len(each.split(","))),) if each else () for each in _texts(own, "support")),
        )  # fmt: skip


def _hcop_species(columns: Iterable[str]) -> list[str]:
    prefixes = [each.removesuffix(_HCOP_ID) for each in columns if each.endswith(_HCOP_ID)]
    return [each for each in prefixes if each != HUMAN]


def _read_biomart(rows: pd.DataFrame, species: str) -> Iterator[_Row]:
    """From an export of human genes with those of the species, or the other way."""
    for other in _biomart_others([str(each) for each in rows]):
        beside = (f"{other} {_BIOMART_ID}", f"{other} {_BIOMART_NAME}")
        (gene_id, symbol), human = (
            (_BIOMART_MAIN, beside) if other == "Human" else (beside, _BIOMART_MAIN)
        )
        own = _of_species(rows, gene_id, species)
        if other != "Human":
            # An export of pig genes has rat genes too, and beside them symbols of pig.
            own = _of_species(own, human[0], HUMAN)
        types = _texts(own, f"{other} homology type")
        yield from map(
            _Row, _ids(own, gene_id, species), _texts(own, symbol),
            _ids(own, human[0], HUMAN), _texts(own, human[1]),
            _biomart_support(own, other), (each == _ONE_TO_ONE if each else None for each in types),
        )  # fmt: skip


def _biomart_others(columns: Sequence[str]) -> list[str]:
    """Species beside that of the export, as BioMart names them: ``Mouse``, ``Guinea Pig``."""
    if _BIOMART_MAIN[0] not in columns:
        return []
    ending = f" {_BIOMART_ID}"
    return [each.removesuffix(ending) for each in columns if each.endswith(ending)]


def _biomart_support(rows: pd.DataFrame, other: str) -> list[tuple[float, ...]]:
    """Orthology confidence, and then the sum of the two identities."""
    confidence = [each for each in rows if str(each).startswith(f"{other} orthology confidence")]
    identities = [
        each for each in rows if str(each).startswith("%id") and f"{other} gene" in str(each)
    ]
    if not confidence and not identities:
        return [()] * len(rows)
    as_numbers = rows[[*confidence, *identities]].apply(pd.to_numeric, errors="coerce").fillna(0)
    sums = zip(as_numbers[confidence].sum(axis=1), as_numbers[identities].sum(axis=1), strict=True)
    return [(float(sure), float(alike)) for sure, alike in sums]


def _read_mgi(rows: pd.DataFrame, species: str) -> Iterator[_Row]:
    """Each gene of the species with each human gene of its class."""
    if species not in _TAXA:
        return
    key = next(each for each in _MGI_KEYS if each in rows)
    # Genes without a class have no homologs.
    rows = rows[rows[key].str.strip() != ""]
    humans = rows[rows[_MGI_SPECIES] == _TAXA[HUMAN]].groupby(key)["Symbol"].apply(list)
    own = rows[rows[_MGI_SPECIES] == _TAXA[species]]
    for of_class, symbol in zip(own[key], _texts(own, "Symbol"), strict=True):
        for human in humans.get(of_class, ()):
            yield _Row("", symbol, "", human.strip())


def _of_species(rows: pd.DataFrame, column: str, species: str) -> pd.DataFrame:
    """The rows whose gene is of a species."""
    return rows[[each != "" for each in _ids(rows, column, species)]]


def _ids(rows: pd.DataFrame, column: str, species: str) -> list[str]:
    """Gene ids of a species without version, "" where there is none."""
    plain = [gene_id_of(text) or "" for text in _texts(rows, column)]
    return [each if each and species_of_gene_id(each) == species else "" for each in plain]


def _texts(rows: pd.DataFrame, column: str) -> list[str]:
    """Texts without white space around them, "" where there is none; HCOP writes ``-`` then."""
    if column not in rows:
        return [""] * len(rows)
    return ["" if text.strip() == "-" else text.strip() for text in rows[column]]


def _species_in(rows: pd.DataFrame) -> str:
    """Which species its ids are of, for a message."""
    found = Counter[str]()
    for name in rows:
        ids = (gene_id_of(value.strip()) for value in rows[name].iloc[:1000])
        found.update(species_of_gene_id(each) or "" for each in ids if each)
    found.pop("", None)
    return f"; its ids are of {' and '.join(found)}" if found else ""
