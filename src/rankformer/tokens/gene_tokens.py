"""From genes and counts to the tokens of a model, which may be named; no torch is loaded."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from rankformer.checkpoints.model_folder import AnyVocabulary, open_vocabulary
from rankformer.errors import TokensError, expect_type
from rankformer.genes import map_genes as genes
from rankformer.genes.mapping import GeneMapping
from rankformer.genes.orthologs import OrthologTable
from rankformer.genes.tables import GeneTable
from rankformer.ragged import Ragged
from rankformer.tokens import rank_value
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import Source, open_counts


def map_genes(
    cells: pd.DataFrame | Source,
    vocabulary: AnyVocabulary,
    *,
    gene_ids: str | None = None,
    gene_table: GeneTable | None = None,
    pyensembl_genome: Any = None,
    min_recognised: float = 0.5,
    orthologs: OrthologTable | None = None,
) -> GeneMapping:
    """Map the variables of a file to the genes of a vocabulary.

    Every variable goes through the rules of `GeneRule` in their order; the first that answers
    decides. A name that stands for several genes there is ambiguous and is not guessed. Symbols in
    the manner of mouse and rat (``Gapdh``) are not upper-cased into human ones, nor human ones
    taken for those of a mouse vocabulary. The vocabulary's own ids tell its species. Variables
    whose ``feature_types`` say antibody, peak or the like are no genes.

    Parameters
    ----------
    cells
        (n_vars, …) annotation of the variables, ``adata.var``; or AnnData or a file, of which the
        variables of the matrix with the counts are taken, as an embedding takes them.
    vocabulary
        Of the model that the tokens are for; or the model's name or folder.
    gene_ids
        "index" or a column of ``var``. If not given, the index and all columns of text are tried,
        and the one that maps most variables is taken; Ensembl ids are preferred to symbols unless
        these map over 5 % more, and the index to a column that maps as many.
    gene_table
        More names, as of HGNC, from `read_gene_table`. They go before the vocabulary's.
    pyensembl_genome
        A pyensembl database that is on this machine. Its names go after the vocabulary's.
    min_recognised
        The least share of variables, 0 to 1, that must be known as genes of the species.
    orthologs
        Of the species that the file is of, from `read_orthologs`: its genes are taken for their
        human orthologs. A `gene_table` and a `pyensembl_genome` then name the human genes.

    Returns
    -------
    Which gene of the vocabulary each variable is, with the rule that told so.

    Raises
    ------
    GeneError
        If most variables are of another species, none is in the vocabulary, fewer than
        `min_recognised` are known, or `gene_ids` names no column.
    CountsError
        If AnnData or a file was given that holds no counts.
    SettingsError
        If `min_recognised` is not between 0 and 1, or `gene_table` or `orthologs` is no table, as
        the path of one.

    Examples
    --------
    >>> import rankformer
    >>> mapping = rankformer.map_genes("pbmc.h5ad", "gf-12L-95M-i4096")
    >>> table = mapping.report()
    >>> lost = table[table["token"] < 0]
    """
    return genes.map_genes(
        cells if isinstance(cells, pd.DataFrame) else _read_var(cells),
        open_vocabulary(vocabulary),
        gene_ids=gene_ids,
        gene_table=gene_table,
        pyensembl_genome=pyensembl_genome,
        min_recognised=min_recognised,
        orthologs=orthologs,
    )


def encode_rank_values(
    counts: csr_matrix | csr_array,
    token_of_var: NDArray[np.int32],
    vocabulary: AnyVocabulary,
    *,
    n_threads: int = 1,
) -> Ragged:
    """Encode cells as tokens.

    Parameters
    ----------
    counts
        (n_cells, n_vars), CSR, any real dtype, non-negative: counts, or counts scaled per cell.
        Explicit zeros are skipped, several entries of one variable summed.
    token_of_var
        (n_vars,) the vocabulary's token of each variable, -1 for none. Variables may share one.
    vocabulary
        Gives medians, special tokens and the input length; or the name or folder of its model.
    n_threads
        Threads that encode; the kernel does not hold the interpreter's lock.

    Returns
    -------
    values : (n_tokens,) int32
        Tokens of all cells, end to end, with ``<cls>`` and ``<eos>`` where the vocabulary has them.
    offsets : (n_cells + 1,) int64
        Cell i has ``values[offsets[i] : offsets[i + 1]]``.

    Raises
    ------
    TokensError
        If `token_of_var` does not fit the counts or the vocabulary, or there are more tokens or
        entries of a cell than the kernel can count: 2²⁰, and 2²⁴ less the vocabulary's size.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> mapping = rankformer.map_genes(adata.var, "gf-12L-95M-i4096")
    >>> values, offsets = rankformer.encode_rank_values(adata.X, mapping.tokens, "gf-12L-95M-i4096")
    >>> tokens_of_the_first_cell = values[offsets[0] : offsets[1]]
    """
    expect_type(
        counts, (csr_matrix, csr_array), "The matrix of counts", "A CSR matrix of scipy.",
        "Pass scipy.sparse.csr_matrix(counts).",
    )  # fmt: skip
    tokens = np.asarray(token_of_var)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise TokensError(
            f"token_of_var holds {tokens.dtype} in {tokens.ndim} dimension(s).",
            "(n_vars,) whole numbers: the token of each variable, -1 for none.",
            "Take map_genes(…).tokens.",
        )
    return rank_value.encode_rank_values(
        counts, tokens.astype(np.int32), open_vocabulary(vocabulary), n_threads=n_threads
    )


def _read_var(cells: Source) -> pd.DataFrame:
    with open_counts(cells, ReadingOptions()) as source:
        return source.var
