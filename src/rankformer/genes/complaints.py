"""What is said when the identifiers of a file are not those of the vocabulary's species."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import GeneError
from rankformer.genes import identifiers as kinds
from rankformer.genes.columns import INDEX
from rankformer.genes.rules import GeneFate, GeneMatch
from rankformer.genes.species import (
    HUMAN,
    RODENT,
    bears_mark_of_species,
    most_common_species,
    other_species_of,
)

if TYPE_CHECKING:
    from rankformer.genes.mapping import GeneMapping
    from rankformer.genes.orthologs import OrthologTable

# One name in a hundred that only another species has tells a file of that species; one own gene in
# ten tells a file of two.
_MARKED_SHARE, _MIXED_SHARE = 100, 10
_SUM_TO_GENES = "Sum the counts of each gene's transcripts first, and name the variables by gene."
_ANOTHER_COLUMN = (
    'Pass gene_ids="…" (--gene-ids) with the column of var that holds Ensembl ids or symbols.'
)
_GENES_ONLY = "Pass the gene expression part of the data: peaks are no genes."
_OTHER_SPECIES = (
    "Name the species that the file is of, and give its table: "
    "orthologs=read_orthologs(…, species) (--species, --orthologs)."
)
_NEEDS_A_TABLE = (kinds.PROTEIN_IDS, kinds.PROBE_IDS, kinds.REFSEQ_IDS, kinds.HGNC_IDS)
_FIX_OF_KIND: Mapping[str, str] = MappingProxyType(
    {
        kinds.ROW_NUMBERS: _ANOTHER_COLUMN,
        kinds.TRANSCRIPT_IDS: _SUM_TO_GENES,
        kinds.INTERVALS: _GENES_ONLY,
        kinds.NO_IDENTIFIER: _ANOTHER_COLUMN,
    }
)


def complain_of_species(
    column: str,
    identifiers: NDArray[np.object_],
    matches: Sequence[GeneMatch],
    own: str,
    *,
    beside: str | None = None,
    is_translated: bool = False,
) -> None:
    """Raise where the identifiers of a column show that the data are of another species.

    Parameters
    ----------
    column
        "index", or the column of ``var``.
    identifiers, matches
        (n_vars,) identifiers, and what the rules made of them.
    own
        The species of the vocabulary.
    beside
        The column that was taken, where `column` only stands beside it. Then symbols in the manner
        of mouse and rat do not count, only ids that no gene of `own` has.
    is_translated
        Whether `own` is the species that the user named, whose genes are taken for orthologs.

    Raises
    ------
    GeneError
        If over half of the variables that are genes are of another species, or one in a hundred
        bears a name that tells the species of the file.
    """
    n_genes = sum(match.fate is not GeneFate.NOT_A_GENE for match in matches)
    foreign = [
        (text, match.species)
        for text, match in zip(identifiers, matches, strict=True)
        if match.species is not None and not (beside and match.species == RODENT)
    ]
    marked = [(text, species) for text, species in foreign if bears_mark_of_species(text, own)]
    expected, fix = _genes_of(own), _fix_of_species(matches, own, beside)
    if is_translated:
        expected, fix = _genes_as_said(own), _OTHER_SPECIES
    if 2 * len(foreign) > n_genes:
        _refuse_species(column, foreign, n_genes, expected, fix)
    if marked and not beside and _MARKED_SHARE * len(marked) >= n_genes:
        _refuse_species(column, marked, n_genes, expected, fix)


def expect_other_species(own: str, orthologs: "OrthologTable") -> None:
    """Raise where genes are to be taken for human ones, and the vocabulary's are not human.

    Raises
    ------
    GeneError
        If so.
    """
    if own == HUMAN:
        return
    raise GeneError(
        f"The vocabulary is of {own}, and genes of {orthologs.species} are to be taken for human "
        "ones.",
        "A model with human genes, as all published ones.",
        "Leave out species and orthologs (--species, --orthologs), or take another model.",
    )


def refuse_human(column: str, human: Sequence[str], n_genes: int, species: str) -> NoReturn:
    """Refuse a human file that is said to be of another species.

    Raises
    ------
    GeneError
        Always.
    """
    raise GeneError(
        f"{len(human):,} of {n_genes:,} identifiers in {_where(column)} are of human genes "
        f"({_few(human)}).",
        _genes_as_said(species),
        _fix_of_human(human, species),
    )


def complain_of_few(mapping: "GeneMapping", min_recognised: float, tried: Sequence[str]) -> None:
    """Raise where no variable has a token, or too few are known as genes of its species.

    Parameters
    ----------
    mapping
        What came of the column that was taken.
    min_recognised
        The least share of variables that must be known.
    tried
        The columns that were looked at.

    Raises
    ------
    GeneError
        If so.
    """
    if mapping.n_mapped and mapping.recognised_share >= min_recognised:
        return
    if mapping.fate_counts[GeneFate.NOT_A_GENE] == mapping.n_vars:
        raise GeneError(
            f'None of {mapping.n_vars:,} variables is a gene: var["feature_types"] says '
            "antibodies, peaks or the like.",
            'Variables of the feature type "Gene Expression".',
            "Pass the gene expression part of the data.",
        )
    unknown = mapping.identifiers[mapping.fates == GeneFate.UNKNOWN]
    kind = kinds.detect_identifiers(unknown).kind
    raise GeneError(
        f"{_share_found(mapping)}{_describe(unknown, kind)}{_also(tried)}",
        _expected(mapping, min_recognised),
        _fix_of_few(mapping, kind),
    )


def _refuse_species(
    column: str, foreign: Sequence[tuple[str, str]], n_genes: int, expected: str, fix: str
) -> NoReturn:
    species = most_common_species(species for _, species in foreign)
    raise GeneError(
        f"{len(foreign):,} of {n_genes:,} identifiers in {_where(column)} are of {species} "
        f"({_few(text for text, _ in foreign)}).",
        expected,
        fix,
    )


def _genes_of(own: str) -> str:
    if own == HUMAN:
        return "Human genes: Geneformer was trained on human cells."
    return f"Genes of {own}, as in the vocabulary."


def _genes_as_said(species: str) -> str:
    return f"Genes of {species}, as species (--species) says."


def _fix_of_human(human: Sequence[str], species: str) -> str:
    """Ids are of a human file; symbols in capitals may be those of another one."""
    if 2 * sum(other_species_of(text, species) == HUMAN for text in human) > len(human):
        return (
            "Leave out species and orthologs (--species, --orthologs) for human cells, also for a "
            "human reference that names cells of another species (annotate --save-reference)."
        )
    return (
        "Leave out species and orthologs (--species, --orthologs) if the cells are human. If they "
        f"are of {species}, and the symbols were put into capitals, name the genes by their "
        "Ensembl ids, or by symbols with small letters as in the table of orthologs."
    )


def _fix_of_species(matches: Sequence[GeneMatch], own: str, beside: str | None) -> str:
    if beside is not None:
        return (
            f"{_to_orthologs(own)}. If the identifiers in "
            f'{_where(beside)} are the orthologs, say so: gene_ids="{beside}" '
            f"(--gene-ids {beside})."
        )
    n_own = sum(match.ensembl_id is not None for match in matches)
    if _MIXED_SHARE * n_own >= len(matches):
        return f"Keep the {own} variables and cells only, or map the others to {own} orthologs."
    return f"{_to_orthologs(own)}; or pass {_a_table(own)}"


def _to_orthologs(own: str) -> str:
    if own != HUMAN:
        return f"Map them to {own} orthologs first"
    return (
        "Take them for their human orthologs, by a table of HCOP, Ensembl BioMart or MGI: "
        "orthologs=read_orthologs(…) (--species SPECIES --orthologs TABLE)"
    )


def _a_table(own: str) -> str:
    return f"a table from them to {own} Ensembl ids: gene_table=read_gene_table(…) (--gene-table)."


def _share_found(mapping: "GeneMapping") -> str:
    where, own = _where(mapping.column), mapping.species
    if mapping.n_recognised and not mapping.n_mapped:
        return (
            f"{mapping.n_recognised:,} of {mapping.n_vars:,} identifiers in {where} are known, "
            f"but none is of a gene in the vocabulary {mapping.vocabulary_name}"
        )
    if not mapping.n_recognised:
        return f"None of {mapping.n_vars:,} identifiers in {where} is known as a {own} gene"
    return (
        f"Only {mapping.n_recognised:,} of {mapping.n_vars:,} identifiers in {where} "
        f"({mapping.recognised_share:.0%}) are known as {own} genes"
    )


def _describe(unknown: NDArray[np.object_], kind: str) -> str:
    if not len(unknown):
        return "."
    if kind == kinds.NO_IDENTIFIER:
        return f"; {len(unknown):,} are empty."
    named = "" if kind in (kinds.SYMBOLS, kinds.MIXED) else f", {kind}"
    return f"; unknown are {_few(unknown)}{named}."


def _also(tried: Sequence[str]) -> str:
    return f" Looked at {', '.join(tried)}." if len(tried) > 1 else ""


def _expected(mapping: "GeneMapping", min_recognised: float) -> str:
    wanted = f"Ensembl ids or symbols of {mapping.species} genes"
    if mapping.recognised_share < min_recognised:
        return f"{wanted}, for at least {min_recognised:.0%} of them."
    return f"{wanted} that the model has."


def _fix_of_few(mapping: "GeneMapping", kind: str) -> str:
    if mapping.orthologs is not None:
        return (
            f"Check that {mapping.orthologs['table']} is the whole table. MGI's has symbols alone; "
            "HCOP's and BioMart's have Ensembl ids too. A column of var is named with gene_ids "
            "(--gene-ids)."
        )
    if mapping.n_recognised and not mapping.n_mapped:
        return (
            "Check that the vocabulary is the checkpoint's, and that genes were not filtered out."
        )
    if kind in _FIX_OF_KIND:
        return _FIX_OF_KIND[kind]
    if kind in _NEEDS_A_TABLE:
        return f"Pass {_a_table(mapping.species)}"
    if kind == kinds.NUMBERS:
        return f"Pass {_a_table(mapping.species)} {_ANOTHER_COLUMN}"
    if not mapping.n_mapped:
        return _ANOTHER_COLUMN
    share = int(100 * mapping.recognised_share) / 100
    return (
        f"{_ANOTHER_COLUMN} For more names pass gene_table=read_gene_table(…) (--gene-table); "
        f"to go on with these, min_recognised={share} (--min-recognised {share})."
    )


def _few(identifiers: Iterable[Any], most: int = 3) -> str:
    listed = [each for each in dict.fromkeys(identifiers) if each]
    return ", ".join(listed[:most]) + ("…" if len(listed) > most else "")


def _where(column: str) -> str:
    return "the index of var" if column == INDEX else f'var["{column}"]'
