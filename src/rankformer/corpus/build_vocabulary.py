"""Cells in, a vocabulary out: genes that are met often enough, with their medians and names."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rankformer.checkpoints.model_folder import AnyVocabulary, open_vocabulary
from rankformer.corpus.expression_sketch import ExpressionSketch
from rankformer.corpus.gene_names import choose_names, names_of_options
from rankformer.corpus.sketch_expression import Corpus, sketch_expression
from rankformer.errors import SettingsError, VocabularyError
from rankformer.genes.tables import GeneTable
from rankformer.names import as_names, few_names
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.vocabulary.vocabulary import CLS, EOS, MASK, PAD, Vocabulary

logger = logging.getLogger(__name__)

MIN_CELLS = 10


# Longer than 80 lines: its docstring is the manual of a vocabulary.
def build_vocabulary(  # noqa: PLR0913  # each keyword is a choice of its own
    sources: Corpus | Sequence[Corpus],
    options: ReadingOptions | None = None,
    *,
    min_cells: int = MIN_CELLS,
    biotypes: str | Sequence[str] = (),
    special_tokens: bool = True,
    input_length: int | None = None,
    name: str = "custom",
    symbols: str | None = None,
    names_from: AnyVocabulary | None = None,
) -> Vocabulary:
    """Build a vocabulary from the cells of a corpus, in one pass and bounded memory.

    The median of a gene is that of its counts per 10,000 counts of a cell, over the cells where it
    is not zero, as Theodoris et al. (Nature 618, 616, 2023) define it, within 1 %. Tokens are the
    special tokens, then genes by ascending Ensembl id; the same cells give the same vocabulary, in
    whatever parts and order they come.

    Parameters
    ----------
    sources
        AnnData, files or folders of counts, sketches, and files of sketches; one or a list of
        them.
    options
        Where counts and genes lie; see `ReadingOptions`. A gene table gives names and biotypes.
    min_cells
        Cells in which a gene must not be zero to get a token.
    biotypes
        Genes of these alone get a token, such as ``["protein_coding"]``; all unless given. They
        come from the gene table, or from a column of ``var`` such as CELLxGENE's
        ``feature_type``.
    special_tokens
        True adds ``<cls>`` and ``<eos>``, which frame a cell, as in V2 models.
    input_length
        The most tokens of a cell; 4096 with these special tokens, else 2048, unless given.
    name
        For messages and provenance.
    symbols
        "index" or the column of ``var`` with the symbols; found by looking unless given.
    names_from
        A vocabulary that names in the files are looked up in, and whose names are taken over; or
        the name or folder of the model that has it.

    Raises
    ------
    CountsError, GeneError
        If a source holds no counts, or genes that cannot be told or are of several species.
    VocabularyError
        If no gene passes the filters, or a file of a sketch is damaged.
    SettingsError
        If biotypes are asked for that are not known.

    Examples
    --------
    >>> import rankformer
    >>> vocabulary = rankformer.build_vocabulary(
    ...     "pbmc.h5ad", min_cells=3, names_from="gf-12L-95M-i4096"
    ... )
    >>> file = vocabulary.save("vocabulary.parquet")
    """
    _check_settings(min_cells, input_length, special_tokens)
    options, biotypes = options or ReadingOptions(), as_names(biotypes, "biotypes")
    known = open_vocabulary(names_from) if names_from else names_of_options(options)
    sketch = sketch_expression(sources, options, symbols=symbols, names_from=known)
    kept = sketch.n_cells_of_genes() >= min_cells
    kept &= _of_biotypes(sketch, biotypes, options.gene_table)
    if not kept.any():
        raise _no_gene_left(sketch, min_cells, biotypes)
    logger.info(
        "%s of the %s genes found in %s cells get a token.",
        f"{kept.sum():,}", f"{len(kept):,}", f"{sketch.n_cells:,}",
    )  # fmt: skip
    names, aliases = choose_names(sketch.symbols, known)
    genes = [gene for gene, keep in zip(sketch.ensembl_ids, kept, strict=True) if keep]
    special = (PAD, MASK, CLS, EOS) if special_tokens else (PAD, MASK)
    return Vocabulary.from_tables(
        {key: token for token, key in enumerate((*special, *genes))},
        dict(zip(genes, sketch.medians()[kept].tolist(), strict=True)),
        symbols=names,
        aliases=_but_for(genes, aliases),
        input_length=input_length,
        name=name,
    )


def _check_settings(min_cells: int, input_length: int | None, special_tokens: bool) -> None:
    if min_cells < 1:
        raise SettingsError(
            f"min_cells is {min_cells}.",
            "At least 1: a gene that no cell has cannot have a median.",
            "Pass min_cells=10 (--min-cells 10).",
        )
    least = 3 if special_tokens else 1
    if input_length is not None and input_length < least:
        raise SettingsError(
            f"input_length is {input_length}.",
            f"At least {least}: room for one gene beside the special tokens.",
            "Pass input_length=2048 (--input-length 2048).",
        )


def _of_biotypes(
    sketch: ExpressionSketch, wanted: Sequence[str], table: GeneTable | None
) -> NDArray[np.bool_]:
    """(n_genes,) whether the biotype, which a table tells before the files do, is wanted."""
    genes = sketch.ensembl_ids
    if not wanted:
        return np.ones(len(genes), bool)
    from_files = {
        gene: min(each, key=lambda biotype: (-each[biotype], biotype))
        for gene, each in sketch.biotypes.items()
    }
    known = {**from_files, **(table.biotypes if table else {})}
    _expect_known(wanted, known)
    return np.array([known.get(gene) in wanted for gene in genes], bool)


def _expect_known(wanted: Sequence[str], known: Mapping[str, str]) -> None:
    there = sorted(set(known.values()))
    missing = [each for each in wanted if each not in there]
    if not missing:
        return
    raise SettingsError(
        f"No gene has the biotype {few_names(missing)}"
        + (f"; there are {few_names(there, most=12)}." if there else ": no biotypes are known."),
        'A column of var such as CELLxGENE\'s "feature_type", or one of the gene table such as '
        '"gene_biotype".',
        "Name a biotype as it is written there (--biotype), or give a table with Ensembl ids and "
        "biotypes (--gene-table).",
    )


def _no_gene_left(
    sketch: ExpressionSketch, min_cells: int, biotypes: Sequence[str]
) -> VocabularyError:
    of = f" of the biotype {' or '.join(biotypes)}" if biotypes else ""
    return VocabularyError(
        f"No gene{of} is met in {min_cells:,} or more of {sketch.n_cells:,} cells.",
        "At least one gene for the vocabulary.",
        "Add cells, or pass a smaller min_cells (--min-cells).",
    )


def _but_for(genes: Sequence[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """Aliases less those that would lead from a gene with a token to another gene."""
    own = frozenset(genes)
    return {name: gene for name, gene in aliases.items() if name not in own or name == gene}
