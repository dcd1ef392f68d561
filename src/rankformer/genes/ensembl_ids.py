"""How identifiers of Ensembl are written: the one place that knows.

A gene is ``ENSG`` and 11 digits, with a code of the species before the G where it is not human
(``ENSMUSG…``). ``ENSGR`` and 10 digits are the copies on Y of genes in the pseudoautosomal regions,
as GENCODE wrote them until release 24; they stand for the gene with a 0 in the place of the R.
Versions (``.12``) and the marks ``_PAR_Y`` and ``_3`` (of a lift-over) may follow.
"""

import re

SPECIES_CODE = r"ENS(?:[A-Z]{3,4})?"
GENE = rf"(?:{SPECIES_CODE}G\d{{11}}|ENSGR\d{{10}})"
TRANSCRIPT = rf"{SPECIES_CODE}T(?:R\d{{10}}|\d{{11}})"
PROTEIN = rf"{SPECIES_CODE}P(?:R\d{{10}}|\d{{11}})"
VERSION = r"\.\d+"
MARK = r"(?:_PAR_Y|_\d+)"

_WHOLE = re.compile(rf"({GENE})(?:{VERSION})?{MARK}?", re.IGNORECASE)
_WITHIN = re.compile(rf"(?<![A-Z0-9])({GENE})(?!\d)")
_CODE_WITHIN = re.compile(r"(?<![A-Z0-9])ENS([A-Z]{3,4}|)[GTP](?:R\d{10}|\d{11})(?!\d)")


def written_gene_id(text: str) -> str | None:
    """The gene id in capitals, without version and mark, as it is written; None if it is none."""
    match = _WHOLE.fullmatch(text)
    return match[1].upper() if match else None


def plain_gene_id(text: str) -> str | None:
    """As `written_gene_id`, with ``ENSG0…`` for ``ENSGR…``."""
    written = written_gene_id(text)
    return _of_x(written) if written else None


def gene_ids_within(upper: str) -> list[str]:
    """Plain gene ids within a longer text in capitals, in their order."""
    return [_of_x(each) for each in _WITHIN.findall(upper)]


def species_code_within(upper: str) -> str | None:
    """The species' letters of the first id of a gene, transcript or protein within a text.

    Nothing for human; None where there is no id.
    """
    match = _CODE_WITHIN.search(upper)
    return match[1] if match else None


def _of_x(gene_id: str) -> str:
    return gene_id.replace("ENSGR", "ENSG0")
