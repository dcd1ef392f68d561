"""A model that begins as a linear method for cells, and with a rule for masked genes."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import helmert
from scipy.sparse import csr_matrix, vstack
from scipy.stats import rankdata
from torch import Tensor

from rankformer.corpus.coexpression import coexpression_vectors, weights_of_places
from rankformer.model.encoder import Embeddings, Layer, MaskedLanguageModel
from rankformer.pretraining.parts import PartsOfWidth, keep_apart
from rankformer.training.cells import CountedCells, TokenCells

_MOST_CELLS = 20_000
_CELLS_AT_ONCE = 512
# At the first place, the vector of the place is as long as those of all genes but this share.
_LONGER = 0.1
# Places are told by waves of these lengths, the longest some three times as long as the cells of
# most models; medians, as shares of all genes, by waves of which each is so much shorter.
_SHORTEST_WAVE, _LONGEST_WAVE = 12.0, 6000.0
_LONGEST_OF_MEDIANS, _SHORTER = 2.0, 1.85
# The score of a gene's own place in the first head: e^-18 is what a place without likeness weighs.
_SCORE_OF_NEARNESS = 18.0
# How strongly the medians nearby are taken up, and then scored. With these, chosen for the loss
# that training begins with, it is 7.3 nats for rankformer-mini (training/ablations.py).
_UPTAKE, _PASSED_ON, _SCORED = 8.0, 1.5, 1.2
# So small that the head's other scores of genes begin close to its biases.
_SCALE_OF_SCORES = 0.1


def initialize_from_coexpression(
    model: MaskedLanguageModel,
    cells: CountedCells | TokenCells,
    rows: NDArray[np.int64],
    seed: int,
) -> None:
    """Set vectors of genes to those of their co-expression, and the rest to go with them, in place.

    The width is shared out as `PartsOfWidth` says. Vectors of genes hold co-expression and a code
    of the gene's median. Vectors of places hold a code of the place, and grow from place to place.
    The layer norm divides the sum of both by its length, so that the mean of a cell's embedded
    genes is the mean of their vectors weighted by their places, as `coexpression_vectors` takes
    them: the model begins as a linear method.

    A masked gene stands between genes whose counts divided by their medians are alike. Where counts
    are small, that are the genes with medians like its own. So one head of the first layer looks at
    the places nearby and takes up their medians, and the masked-LM head scores genes by them. Its
    biases become the logarithms of how often genes are found.

    Parameters
    ----------
    model
        Whose vectors of genes that no cell has keep what they have of cells.
    cells, rows
        The cells to look at: at most 20,000 of these rows, drawn at random.
    seed
        Decides which.
    """
    parts = PartsOfWidth.of(model.encoder.spec)
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.permutation(rows)[:_MOST_CELLS])
    weights = _weights_in_cells(cells, drawn)
    vectors = torch.from_numpy(coexpression_vectors(weights, parts.n_of_cell, seed))
    tokens = torch.from_numpy(cells.vocabulary.tokens.astype(np.int64))
    with torch.no_grad():
        _place_genes(model.encoder.embeddings, vectors, parts)
        model.encoder.embeddings.token.weight[tokens, parts.medians] = _code_of_medians(
            cells.vocabulary.medians, parts.n_of_medians
        ).to(model.encoder.embeddings.token.weight)
        _look_nearby(model.encoder.layers[0], parts)  # type: ignore[arg-type]
        _score_by_medians(model, parts)
        model.bias[tokens] = _log_frequencies(weights, cells.vocabulary.tokens).to(model.bias)
    keep_apart(model, parts)


def _place_genes(embeddings: Embeddings, vectors: Tensor, parts: PartsOfWidth) -> None:
    """Put the vectors of genes in, and let the vectors of places grow from place to place."""
    lengths = vectors.norm(dim=1)
    told = lengths > 0
    if not told.any():
        return
    embeddings.token.weight[told, parts.cell] = vectors[told].to(embeddings.token.weight)
    places = np.arange(len(embeddings.position.weight))
    waves = np.geomspace(_SHORTEST_WAVE, _LONGEST_WAVE, parts.n_of_places // 2)
    code = _code(places.astype(float), waves, parts.n_of_places).to(vectors)
    growth = torch.from_numpy(1 / weights_of_places(places)).to(vectors)
    first = lengths[told].quantile(1 - _LONGER)
    embeddings.position.weight[:, parts.places] = first * growth[:, None] * code


def _code_of_medians(medians: NDArray[np.float64], n_dimensions: int) -> Tensor:
    """(len(medians), n_dimensions): alike for genes whose medians are near in order."""
    waves = _LONGEST_OF_MEDIANS * np.power(_SHORTER, -np.arange(n_dimensions // 2, dtype=float))
    return _code(rankdata(medians) / float(len(medians)), waves, n_dimensions).float()


def _code(numbers: NDArray[np.float64], waves: NDArray[np.float64], n_dimensions: int) -> Tensor:
    """(len(numbers), n_dimensions) of length 1 and mean 0: products depend on differences.

    Sine and cosine of each wave (Vaswani et al., NeurIPS 2017), turned into the dimensions of which
    the sum is 0, as a layer norm takes the mean away. Without waves, zeros.
    """
    if not len(waves):
        return torch.zeros(len(numbers), n_dimensions)
    angles = 2 * np.pi * np.outer(numbers, 1 / waves)
    code = np.hstack([np.cos(angles), np.sin(angles)]) / np.sqrt(len(waves))
    return torch.from_numpy(code @ helmert(n_dimensions))


def _look_nearby(layer: Layer, parts: PartsOfWidth) -> None:
    """Let the first head weigh places by how near they are, and take up their medians."""
    width = layer.qkv.in_features
    head = width // layer.n_heads
    query, key, value = layer.qkv.weight.view(3, width, width)
    sharpness = (_SCORE_OF_NEARNESS * head**0.5 / width) ** 0.5
    for rows in (query, key):
        rows[: parts.n_of_places] = 0
        rows[: parts.n_of_places, parts.places] = sharpness * torch.eye(parts.n_of_places)
    value[:head] = 0
    value[: parts.n_of_medians, parts.medians] = torch.eye(parts.n_of_medians)
    layer.attention_out.weight[:, :head] = 0
    layer.attention_out.weight[parts.medians, : parts.n_of_medians] = _UPTAKE * torch.eye(
        parts.n_of_medians
    )


def _score_by_medians(model: MaskedLanguageModel, parts: PartsOfWidth) -> None:
    """Let the masked-LM head pass the code of medians on, and little else."""
    model.transform.weight[parts.medians] = 0
    model.transform.weight[parts.medians, parts.medians] = _PASSED_ON * torch.eye(
        parts.n_of_medians
    )
    model.norm.weight.fill_(_SCALE_OF_SCORES)
    model.norm.weight[parts.medians] = _SCORED


def _log_frequencies(weights: csr_matrix, tokens: NDArray[np.int32]) -> Tensor:
    """(len(tokens),) logarithms of the share of cells with each gene, their mean being 0."""
    # One cell is added to each, for genes that none has.
    n_cells = torch.from_numpy(weights.getnnz(axis=0)[tokens] + 1.0)
    return n_cells.log() - n_cells.log().mean()


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
