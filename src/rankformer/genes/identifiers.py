"""What kind of identifiers genes have in a file, told from the way they are written."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.genes.ensembl_ids import (
    GENE,
    MARK,
    PROTEIN,
    TRANSCRIPT,
    VERSION,
    written_gene_id,
)
from rankformer.genes.species import HUMAN, most_common_species, other_species_of

ENSEMBL_IDS = "Ensembl ids"
VERSIONED_IDS = "Ensembl ids with versions"
TRANSCRIPT_IDS = "Ensembl transcript ids"
PROTEIN_IDS = "Ensembl protein ids"
ROW_NUMBERS = "row numbers"
NUMBERS = "numbers, such as Entrez ids"
PROBE_IDS = "microarray probe ids"
REFSEQ_IDS = "RefSeq ids"
HGNC_IDS = "HGNC ids"
INTERVALS = "genomic intervals"
SYMBOLS = "symbols"
NO_IDENTIFIER = "empty"
MIXED = "mixed"

_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "versioned": VERSIONED_IDS,
        "ensembl": ENSEMBL_IDS,
        "transcript": TRANSCRIPT_IDS,
        "protein": PROTEIN_IDS,
        "number": NUMBERS,
        "probe": PROBE_IDS,
        "refseq": REFSEQ_IDS,
        "hgnc": HGNC_IDS,
        "interval": INTERVALS,
        "empty": NO_IDENTIFIER,
    }
)
_KIND = re.compile(
    rf"(?P<versioned>{GENE}{VERSION}{MARK}?)"
    rf"|(?P<ensembl>{GENE}{MARK}?)"
    rf"|(?P<transcript>{TRANSCRIPT}(?:{VERSION})?{MARK}?)"
    rf"|(?P<protein>{PROTEIN}(?:{VERSION})?)"
    r"|(?P<number>\d+)"
    r"|(?P<probe>(?:\w+_at|ILMN_\d+|A_\d\d_P\d+))"
    r"|(?P<refseq>[NX][MRP]_\d+(?:\.\d+)?)"
    r"|(?P<hgnc>HGNC:\d+)"
    r"|(?P<interval>(?:chr)?(?:\d+|[XYM]|MT)[:_-]\d+[-_]\d+)"
    r"|(?P<empty>)",
    re.IGNORECASE,
)
_TELL_NO_SPECIES = frozenset((ROW_NUMBERS, NUMBERS, PROBE_IDS, INTERVALS, NO_IDENTIFIER))
UNKNOWN = "unknown"
# One kind, or one species, is named for all where it holds for this share.
_MOST = 0.9


@dataclass(frozen=True)
class IdentifierSummary:
    """The kind of a file's identifiers.

    Attributes
    ----------
    kind
        The kind of at least 90 % of them, such as "Ensembl ids" or "symbols"; else "mixed".
    species
        "human", or the species that most of them are written like; "unknown" where the kind does
        not tell. Upper-case symbols of other mammals cannot be told from human ones.
    n_identifiers, n_distinct
        How many there are, and how many different ones.
    counts
        Identifiers of each kind.
    examples
        The first few.
    """

    kind: str
    species: str
    n_identifiers: int
    n_distinct: int
    counts: Mapping[str, int]
    examples: tuple[str, ...]


def detect_identifiers(identifiers: Iterable[Any], *, n_examples: int = 3) -> IdentifierSummary:
    """Tell the kind and the species of identifiers; never fails.

    Parameters
    ----------
    identifiers
        The index or a column of ``var``: strings, bytes, categories, numbers, missing values.
    n_examples
        How many to give as examples.
    """
    codes, distinct = distinct_identifiers(identifiers)
    times = np.bincount(codes, minlength=len(distinct))
    counts = Counter[str]()
    other = Counter[str]()
    for text, count in zip(distinct, times.tolist(), strict=True):
        counts[kind_of(text)] += count
        species = other_species_of(text)
        if species is not None:
            other[species] += count
    kind = _kind_of_most(counts)
    if kind == NUMBERS and _count_up(distinct):
        kind = ROW_NUMBERS
    return IdentifierSummary(
        kind=kind,
        species=UNKNOWN if kind in _TELL_NO_SPECIES else _species_of_most(other, len(codes)),
        n_identifiers=len(codes),
        n_distinct=len(distinct),
        counts=MappingProxyType(dict(counts.most_common())),
        examples=tuple([text for text in distinct if text][:n_examples]),
    )


def count_ensembl_ids(identifiers: Iterable[str]) -> int:
    """How many are Ensembl ids of genes, with versions or without."""
    return sum(map(bool, map(written_gene_id, identifiers)))


def kind_of(identifier: str) -> str:
    """Name the kind of one identifier; whatever is nothing else is a symbol."""
    match = _KIND.fullmatch(identifier)
    return _KINDS[match.lastgroup] if match and match.lastgroup else SYMBOLS


def distinct_identifiers(values: Iterable[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """Number the different identifiers, each as text without white space around it.

    Returns
    -------
    codes : (n,) int64
        For each value the index of its text.
    texts
        The different texts; missing values are "".
    """
    # Not with pandas.factorize, to which a text ends at its first NUL.
    listed = pd.Series(values).astype(object).tolist()
    to_text = str.strip if set(map(type, listed)) == {str} else _text
    texts = list(map(to_text, listed))
    distinct = list(dict.fromkeys(texts))
    code_of = dict(zip(distinct, range(len(distinct)), strict=True))
    return np.array([code_of[text] for text in texts], dtype=np.int64), distinct


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float | np.floating):
        # Whole numbers with gaps, such as Entrez ids, are read as floats.
        return "" if np.isnan(value) else f"{value:.0f}" if value.is_integer() else str(value)
    return str(value).strip()


def _kind_of_most(counts: Counter[str]) -> str:
    present = counts.copy()
    if len(present) > 1:
        present.pop(NO_IDENTIFIER, None)
    if not present:
        return NO_IDENTIFIER
    kind, count = present.most_common(1)[0]
    return kind if count >= _MOST * present.total() else MIXED


def _count_up(texts: list[str]) -> bool:
    """Whether the numbers among `texts` are the first whole ones, from 0 or 1 on."""
    numbers = sorted(int(text) for text in texts if text.isdecimal())
    return numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] < 2


def _species_of_most(other: Counter[str], n_identifiers: int) -> str:
    if not other or other.total() <= n_identifiers - other.total():
        return HUMAN
    return most_common_species(other)
