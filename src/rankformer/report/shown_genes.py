"""The genes that a page can colour its cells by: those that vary most, as many as fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from rankformer.report.blobs import encode_gene_block

GENES_IN_BLOCK = 64
# Of text in the page: with all else it stays below 10 MB for 50,000 cells.
_MOST_TEXT = 5_500_000
_LEAST_CELLS = 3


@dataclass(frozen=True, eq=False)
class ShownGenes:
    """Expression of some genes, encoded.

    Attributes
    ----------
    names
        In the order of the blocks.
    sizes
        (n_genes,) uint32: cells with counts of each.
    blocks
        Text of `GENES_IN_BLOCK` genes each.
    n_left_out
        Genes with counts in at least three cells, for which there was no room.
    """

    names: tuple[str, ...]
    sizes: NDArray[np.uint32]
    blocks: tuple[str, ...]
    n_left_out: int


def choose_genes(
    log_counts: csr_matrix, names: NDArray[np.object_], wanted: NDArray[np.int64]
) -> ShownGenes:
    """Take the genes that are wanted, and then the others by their variance.

    Parameters
    ----------
    log_counts
        (n_cells, n_vars) log1p of counts scaled to 10,000 a cell.
    names
        (n_vars,) names, all different.
    wanted
        Columns of genes to take in any case.
    """
    columns = _order_genes(log_counts, wanted)
    ordered = csc_matrix(log_counts[:, columns])
    ordered.sort_indices()
    blocks: list[str] = []
    n_taken = 0
    while n_taken < len(columns):
        last = min(n_taken + GENES_IN_BLOCK, len(columns))
        block = encode_gene_block(ordered[:, n_taken:last])
        if n_taken >= len(wanted) and sum(map(len, blocks)) + len(block) > _MOST_TEXT:
            break
        blocks.append(block)
        n_taken = last
    sizes = np.diff(ordered.indptr[: n_taken + 1]).astype(np.uint32)
    shown = tuple(map(str, names[columns[:n_taken]]))
    return ShownGenes(shown, sizes, tuple(blocks), len(columns) - n_taken)


def _order_genes(log_counts: csr_matrix, first: NDArray[np.int64]) -> NDArray[np.int64]:
    n_cells_with = np.bincount(log_counts.indices, minlength=log_counts.shape[1])
    squares = np.asarray(log_counts.power(2).mean(axis=0)).ravel()
    variance = squares - np.square(np.asarray(log_counts.mean(axis=0)).ravel())
    others = np.flatnonzero(n_cells_with >= _LEAST_CELLS)
    others = others[~np.isin(others, first)]
    others = others[np.argsort(-variance[others], kind="stable")]
    return np.concatenate([first, others])
