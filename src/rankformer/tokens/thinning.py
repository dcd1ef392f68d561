"""Cells as they would look had fewer molecules been caught: views of one cell for training.

A cell of counts is split binomially, which leaves each part a sample of the same cell; the parts
are independent given the cell where counts are Poisson (count splitting: Neufeld et al.,
Biostatistics 25, 270, 2023). A cell of which only tokens are left loses genes instead.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.ragged import Ragged
from rankformer.vocabulary.vocabulary import Vocabulary


def split_counts(
    counts: csr_matrix, shares: NDArray[np.float64], rng: np.random.Generator
) -> tuple[csr_matrix, csr_matrix]:
    """Split the molecules of each cell into two parts.

    Parameters
    ----------
    counts
        (n_cells, n_vars), float. Where a cell was scaled, its smallest value is taken for one
        molecule.
    shares
        (n_cells,) chance of each molecule to be in the first part.
    rng
        Decides.

    Returns
    -------
    The two parts, float32, which add up to the molecules.
    """
    molecules = _count_molecules(counts)
    chances = np.repeat(shares, np.diff(counts.indptr))
    first = rng.binomial(molecules, chances)
    return _with_values(counts, first), _with_values(counts, molecules - first)


def split_genes(
    ragged: Ragged, shares: NDArray[np.float64], vocabulary: Vocabulary, rng: np.random.Generator
) -> tuple[Ragged, Ragged]:
    """Split the genes of each cell into two parts, as `split_counts` does molecules.

    Parameters
    ----------
    ragged
        Tokens of the cells, in rank order; special tokens go to both parts.
    shares
        (n_cells,) chance of each gene to be in the first part.
    vocabulary
        Says which tokens are special.
    rng
        Decides.
    """
    values, offsets = ragged
    is_special = np.isin(values, list(vocabulary.special_tokens.values()))
    first = rng.random(len(values)) < np.repeat(shares, np.diff(offsets))
    return _select(ragged, first | is_special), _select(ragged, ~first | is_special)


def crop_genes(ragged: Ragged, n_genes: int, vocabulary: Vocabulary) -> Ragged:
    """Keep the first genes of each cell, and its special tokens.

    Parameters
    ----------
    ragged
        Tokens of the cells, in rank order.
    n_genes
        The most genes that a cell keeps.
    vocabulary
        Says which tokens are special.
    """
    values, offsets = ragged
    is_special = np.isin(values, list(vocabulary.special_tokens.values()))
    n_before = np.concatenate([[0], np.cumsum(~is_special)])
    place = n_before[:-1] - np.repeat(n_before[offsets[:-1]], np.diff(offsets))
    return _select(ragged, is_special | (place < n_genes))


def _count_molecules(counts: csr_matrix) -> NDArray[np.int64]:
    values: NDArray[np.float64] = counts.data.astype(np.float64)
    if (values != np.rint(values)).any():
        filled = np.diff(counts.indptr) > 0
        unit = np.ones(counts.shape[0])
        unit[filled] = np.minimum.reduceat(values, counts.indptr[:-1][filled])
        values = np.rint(values / np.repeat(unit, np.diff(counts.indptr)))
    return values.astype(np.int64)


def _with_values(counts: csr_matrix, values: NDArray[np.int64]) -> csr_matrix:
    part = csr_matrix(
        (values.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape, copy=True
    )
    part.eliminate_zeros()
    return part


def _select(ragged: Ragged, kept: NDArray[np.bool_]) -> Ragged:
    values, offsets = ragged
    ends = np.concatenate([[0], np.cumsum(kept)])
    return values[kept], ends[offsets]
