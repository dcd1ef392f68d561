"""Where the vectors of genes and places, and the head's biases, begin before training."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from rankformer.corpus.coexpression import coexpression_vectors, weights_of_places
from rankformer.model.encoder import Embeddings, MaskedLanguageModel
from rankformer.training.cells import CountedCells, TokenCells

_MOST_CELLS = 20_000
_CELLS_AT_ONCE = 512
# At the first place, the vector of the place is as long as those of all genes but this share.
_LONGER = 0.1
# So small that the head's scores of genes begin close to its biases.
_SCALE_OF_SCORES = 0.1


def initialize_from_coexpression(
    model: MaskedLanguageModel,
    cells: CountedCells | TokenCells,
    rows: NDArray[np.int64],
    seed: int,
) -> None:
    """Set the embeddings of genes to vectors of their co-expression, in place.

    The embeddings of places get a part in one common direction, longer from place to place. The
    layer norm divides the sum of both by its length, so that the mean of a cell's embedded genes is
    the mean of their vectors weighted by their places, as `coexpression_vectors` takes them: the
    model begins as a linear method, and its layers learn what that leaves. The biases of the
    masked-LM head become the logarithms of how often genes are found, and the rest of it is scaled
    down, so that genes are first named by how often they are found.

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
    drawn = np.sort(rng.permutation(rows)[:_MOST_CELLS])
    weights = _weights_in_cells(cells, drawn)
    vectors = torch.from_numpy(coexpression_vectors(weights, model.encoder.spec.d_model, seed))
    with torch.no_grad():
        _place_genes(model.encoder.embeddings, vectors, seed)
        model.bias[cells.vocabulary.tokens.tolist()] = _log_frequencies(
            weights, cells.vocabulary.tokens
        ).to(model.bias)
        model.norm.weight.fill_(_SCALE_OF_SCORES)


def _place_genes(embeddings: Embeddings, vectors: Tensor, seed: int) -> None:
    """Put the vectors of genes in, and let the vectors of places grow from place to place."""
    lengths = vectors.norm(dim=1)
    told = lengths > 0
    if not told.any():
        return
    embeddings.token.weight[told] = vectors[told].to(embeddings.token.weight)
    n_places, width = embeddings.position.weight.shape
    growth = torch.from_numpy(1 / weights_of_places(np.arange(n_places))).to(vectors)
    first = lengths[told].quantile(1 - _LONGER)
    embeddings.position.weight += first * torch.outer(growth, _common_direction(width, seed))


def _log_frequencies(weights: csr_matrix, tokens: NDArray[np.int32]) -> Tensor:
    """(len(tokens),) logarithms of the share of cells with each gene, their mean being 0."""
    # One cell is added to each, for genes that none has.
    n_cells = torch.from_numpy(weights.getnnz(axis=0)[tokens] + 1.0)
    return n_cells.log() - n_cells.log().mean()


def _common_direction(width: int, seed: int) -> Tensor:
    """(width,) of length 1 and mean 0, as a layer norm takes the mean away."""
    drawn = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    drawn -= drawn.mean()
    unit: Tensor = drawn / drawn.norm()
    return unit


def _weights_in_cells(cells: CountedCells | TokenCells, rows: NDArray[np.int64]) -> csr_matrix:
    """(len(rows), vocabulary.size): what each gene weighs in each cell, by its place."""
    size = cells.vocabulary.size
    special = list(cells.vocabulary.special_tokens.values())
    blocks = []
    for start in range(0, len(rows), _CELLS_AT_ONCE):
        values, offsets = cells.take(rows[start : start + _CELLS_AT_ONCE])
        places = np.arange(len(values)) - np.repeat(offsets[:-1], np.diff(offsets))
        weights = weights_of_places(places) * ~np.isin(values, special)
        blocks.append(csr_matrix((weights, values, offsets), shape=(len(offsets) - 1, size)))
    return vstack(blocks, format="csr")
