"""Which species an identifier belongs to, told from the way it is written."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from rankformer.genes.ensembl_ids import plain_gene_id, species_code_within

HUMAN = "human"
RODENT = "mouse or rat"
_RODENTS = frozenset(("mouse", "rat", "golden hamster"))
# Symbols of these have small letters as those of rodents do; the others write capitals as human.
_SMALL_LETTERS = _RODENTS | {
    "zebrafish",
    "western clawed frog",
    "African clawed frog",
    "fruit fly",
    "roundworm (C. elegans)",
    "yeast",
    "thale cress",
}

# The letters between ENS and G (gene), T (transcript) or P (protein) of an Ensembl id.
_ENSEMBL_SPECIES: Mapping[str, str] = MappingProxyType(
    {
        "": HUMAN,
        "MUS": "mouse",
        "RNO": "rat",
        "DAR": "zebrafish",
        "MMU": "rhesus macaque",
        "MFA": "crab-eating macaque",
        "PTR": "chimpanzee",
        "GGO": "gorilla",
        "CJA": "marmoset",
        "MIC": "mouse lemur",
        "SSC": "pig",
        "BTA": "cow",
        "OAR": "sheep",
        "ECA": "horse",
        "CAF": "dog",
        "FCA": "cat",
        "OCU": "rabbit",
        "CPO": "guinea pig",
        "MAU": "golden hamster",
        "MOD": "opossum",
        "GAL": "chicken",
        "XET": "western clawed frog",
    }
)
_OTHER_DATABASES = (
    (re.compile(r"FBgn\d{7}", re.IGNORECASE), "fruit fly"),
    (re.compile(r"WBGene\d{8}", re.IGNORECASE), "roundworm (C. elegans)"),
    (re.compile(r"Y[A-P][LR]\d{3}[WC](-[A-Z])?", re.IGNORECASE), "yeast"),
    (re.compile(r"AT[1-5MC]G\d{5}", re.IGNORECASE), "thale cress"),
    (re.compile(r"MGP_\w+_G\d{7}", re.IGNORECASE), "mouse"),
)
_HUMAN_GENOME = re.compile(r"(?:GRCh3[78]|hg18|hg19|hg38|human)(?:_+|-+)(?=.)", re.IGNORECASE)
_OTHER_GENOMES = (
    (re.compile(r"(?:mm9|mm10|mm39|GRCm3[89]|mouse)(?:_|-)", re.IGNORECASE), "mouse"),
    (re.compile(r"(?:rn[67]|Rnor_6\.0|mRatBN7\.2|rat)(?:_|-)", re.IGNORECASE), "rat"),
    (re.compile(r"(?:danRer\d\d|GRCz1[01])(?:_|-)", re.IGNORECASE), "zebrafish"),
    (re.compile(r"(?:susScr11|Sscrofa11\.1)(?:_|-)", re.IGNORECASE), "pig"),
    (re.compile(r"(?:rheMac\d+|Mmul_10)(?:_|-)", re.IGNORECASE), "rhesus macaque"),
    (re.compile(r"(?:dm6|BDGP6)(?:_|-)", re.IGNORECASE), "fruit fly"),
)
# Gapdh, Hbb-bs, H2-Ab1, mt-Co1, 0610009B22Rik, RGD1310819. A human symbol has capitals only,
# but for the orf of C9orf72, a few RNA families (RNase_MRP) and clones (bP-2189O9.3, XXbac-B1D2.9).
_RODENT_SYMBOL = re.compile(
    r"[A-Z]\d*(?:-[A-Z])?[a-z][A-Za-z0-9.\-]*|mt-[A-Z][a-z0-9\-]+|\w+Rik\d*|RGD\d{6,}(_\w+)?"
)
_ONLY_RODENT = re.compile(r"mt-[A-Z][a-z]\w*|\w+Rik\d*|Gm\d{2,}|RGD\d{6,}\w*")
_HUMAN_MIXED_CASE = re.compile(r"C(\d+|X|Y)orf\d+\S*|RNase\S*")
_SERIES = (
    (re.compile(r"\w+Rik\d*|Gm\d{3,}"), "mouse"),
    (re.compile(r"RGD\d{6,}\w*"), "rat"),
)
# Names that betray a file whose other symbols could be human ones in small or capital letters.
_MARKS = (
    (re.compile(r"(si|zgc|wu|im|zmp):\S+"), "zebrafish"),
    (re.compile(r"[a-z][a-z0-9\-]+\.[LS]"), "African clawed frog"),
    (re.compile(r"\d{7}[A-P]\d\dRIK\d*"), "mouse"),
)

_GENOMES_OF: Mapping[str, tuple[re.Pattern[str], ...]] = MappingProxyType(
    {
        HUMAN: (_HUMAN_GENOME,),
        **{name: (pattern,) for pattern, name in _OTHER_GENOMES},
    }
)


def _any_of(patterns: Iterable[re.Pattern[str]]) -> re.Pattern[str]:
    """Matches where one of `patterns` may: a quick look, as most identifiers tell no species."""
    return re.compile("|".join(f"(?:{each.pattern})" for each in patterns), re.IGNORECASE)


_MAY_BE_OF_DATABASE = _any_of(pattern for pattern, _ in _OTHER_DATABASES)
_MAY_TELL_SPECIES = _any_of(
    pattern for pattern, _ in _OTHER_GENOMES + _OTHER_DATABASES + _MARKS + _SERIES
)


def known_species() -> tuple[str, ...]:
    """Names of all species whose gene ids are told apart."""
    of_databases = (name for _, name in _OTHER_DATABASES)
    return tuple(dict.fromkeys([*_ENSEMBL_SPECIES.values(), *of_databases]))


def species_of_ensembl_id(identifier: str) -> str | None:
    """Name the species of the Ensembl id in `identifier` (upper case); None without one."""
    code = species_code_within(identifier) if "ENS" in identifier else None
    if code is None:
        return None
    return _ENSEMBL_SPECIES.get(code, f"another species (ENS{code})")


def remove_genome(identifier: str, own: str = HUMAN) -> str | None:
    """Return `identifier` less a prefix such as ``GRCh38_`` or ``hg19___``; None without one.

    Only prefixes of genomes of the species `own` are removed.
    """
    for pattern in _GENOMES_OF.get(own, ()):
        match = pattern.match(identifier)
        if match and match.end() < len(identifier):
            return identifier[match.end() :].lstrip("_-")
    return None


def is_foreign_symbol(identifier: str, own: str = HUMAN) -> bool:
    """Whether a symbol is written as those of `own` are not.

    ``Gapdh`` is foreign where symbols have capitals only, ``GAPDH`` where only the first letter is
    one. Changing its case would make it look like the gene of the other species.
    """
    if own in _RODENTS:
        return identifier.isupper() and not is_only_rodent(identifier)
    return own not in _SMALL_LETTERS and is_rodent_symbol(identifier)


def can_be_of(identifier: str, other: str) -> bool:
    """Whether an identifier of a human gene can as well be one of the species `other`.

    A symbol can where the species writes capitals as human does; an Ensembl id and a name with the
    prefix of a human genome cannot.
    """
    return other not in _SMALL_LETTERS and _species_of(identifier) != HUMAN


def is_rodent_symbol(identifier: str) -> bool:
    """Whether a symbol is written in the manner of mouse and rat: a capital, then small letters."""
    if identifier.isupper() or identifier.islower():
        return bool(identifier.startswith("RGD") and _ONLY_RODENT.fullmatch(identifier))
    return bool(
        _RODENT_SYMBOL.fullmatch(identifier) and not _HUMAN_MIXED_CASE.fullmatch(identifier)
    )


def is_only_rodent(identifier: str) -> bool:
    """Whether a symbol is of a series that only mouse or rat has: Rik, Gm, mt-, RGD."""
    return bool(_ONLY_RODENT.fullmatch(identifier))


def gene_id_of(identifier: str) -> str | None:
    """Return the gene id that Ensembl has, of any species, without version; None if it is none.

    Of fly, worm, yeast and thale cress these are the ids of FlyBase, WormBase, SGD and TAIR.
    """
    plain = plain_gene_id(identifier)
    if plain:
        return plain
    return identifier if _species_of_database_id(identifier) else None


def species_of_genes(ensembl_ids: Iterable[str]) -> str:
    """Name the species that most gene ids are of; human where none tells."""
    species = Counter(filter(None, map(species_of_gene_id, ensembl_ids)))
    return species.most_common(1)[0][0] if species else HUMAN


def species_of_gene_id(identifier: str) -> str | None:
    """Name the species of a gene id; None where it does not tell."""
    return species_of_ensembl_id(identifier.upper()) or _species_of_database_id(identifier)


def other_species_of(identifier: str, own: str = HUMAN) -> str | None:
    """Name the species that `identifier` is of, where it is written as none of `own` is.

    Knows Ensembl ids, ids of model organism databases, genome prefixes (``mm10_Gapdh``), and the
    symbols of mouse, rat and zebrafish. None where it is of `own` or cannot be told.
    """
    species = _species_of(identifier)
    if species == RODENT and own in _SMALL_LETTERS:
        return None
    return None if species == own else species


def _species_of(identifier: str) -> str | None:
    species = species_of_ensembl_id(identifier.upper())
    if species is not None:
        return species
    if _MAY_TELL_SPECIES.match(identifier):
        for pattern, name in _OTHER_GENOMES:
            if pattern.match(identifier):
                return name
        for pattern, name in _OTHER_DATABASES + _MARKS + _SERIES:
            if pattern.fullmatch(identifier):
                return name
    if is_rodent_symbol(identifier):
        return RODENT
    return HUMAN if _HUMAN_GENOME.match(identifier) else None


def _species_of_database_id(identifier: str) -> str | None:
    if not _MAY_BE_OF_DATABASE.match(identifier):
        return None
    for pattern, name in _OTHER_DATABASES:
        if pattern.fullmatch(identifier):
            return name
    return None


def bears_mark_of_species(identifier: str, own: str = HUMAN) -> bool:
    """Whether a name is of a series that tells the species of a whole file, and it is not `own`.

    Symbols of fish and frog are written small, those of mouse at times in capitals: both would
    pass for human, were it not for names such as ``zgc:103482`` and ``0610009B22RIK``.
    """
    return any(pattern.fullmatch(identifier) and species != own for pattern, species in _MARKS)


def most_common_species(species: Iterable[str]) -> str:
    """Name the species met most often; mouse and rat are told apart by the ids that can."""
    counts = Counter(species)
    rodent = counts.pop(RODENT, 0)
    if rodent:
        named = max(("mouse", "rat"), key=lambda name: counts[name])
        counts[named if counts[named] else RODENT] += rodent
    return counts.most_common(1)[0][0]
