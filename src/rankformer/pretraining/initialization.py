"""Where the vectors of genes begin, before training."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from rankformer.corpus.coexpression import coexpression_vectors
from rankformer.model.encoder import MaskedLanguageModel
from rankformer.training.cells import CountedCells, TokenCells

_MOST_CELLS = 20_000
_CELLS_AT_ONCE = 512


def initialize_from_coexpression(
    model: MaskedLanguageModel,
    cells: CountedCells | TokenCells,
    rows: NDArray[np.int64],
    seed: int,
) -> None:
    """Set the embeddings of genes to unit vectors of their co-expression, in place.

    Parameters
    ----------
    model
        Whose embeddings of genes that no cell has stay as they are.
    cells, rows
        The cells to look at: at most 20,000 of these rows, drawn at random.
    seed
        Decides which.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(rows)[:_MOST_CELLS]
    presence = _presence(cells, np.sort(drawn))
    embeddings = model.encoder.embeddings.token.weight
    vectors = torch.from_numpy(coexpression_vectors(presence, embeddings.shape[1], seed))
    genes = torch.from_numpy(cells.vocabulary.tokens).long()
    told = genes[vectors[genes].any(dim=1)]
    with torch.no_grad():
        embeddings[told] = vectors[told].to(embeddings)


def _presence(cells: CountedCells | TokenCells, rows: NDArray[np.int64]) -> csr_matrix:
    """(len(rows), vocabulary.size): 1 where a cell has the gene among its tokens."""
    size = cells.vocabulary.size
    blocks = []
    for start in range(0, len(rows), _CELLS_AT_ONCE):
        values, offsets = cells.take(rows[start : start + _CELLS_AT_ONCE])
        ones = np.ones(len(values), np.float32)
        blocks.append(csr_matrix((ones, values, offsets), shape=(len(offsets) - 1, size)))
    return vstack(blocks, format="csr")
