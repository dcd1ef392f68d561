"""Vectors of genes against numpy's dense decomposition."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from rankformer.corpus.coexpression import coexpression_vectors, weights_of_places


@pytest.fixture
def weights():
    """Two kinds of cells, with 20 genes each of their own, and 20 genes at random."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 300)
    chance = np.full((300, 60), 0.3)
    chance[:, :20] = np.where(kind == 0, 0.7, 0.1)[:, None]
    chance[:, 20:40] = np.where(kind == 1, 0.7, 0.1)[:, None]
    there = rng.random((300, 60)) < chance
    return csr_matrix(there * rng.uniform(0.1, 1, (300, 60)))


def plain_loadings(weights, n_dimensions):
    """By numpy's own decomposition of the dense matrix."""
    cells = weights.toarray()
    cells /= np.linalg.norm(cells, axis=1, keepdims=True)
    scale = 1 / np.maximum(cells.std(axis=0), np.quantile(cells.std(axis=0), 0.2))
    _, _, directions = np.linalg.svd(cells * scale, full_matrices=False)
    return directions[:n_dimensions].T * scale[:, None]


def test_they_are_the_loadings_of_a_dense_decomposition(weights):
    loadings = plain_loadings(weights, 5)
    lengths = np.linalg.norm(loadings, axis=1)
    loadings *= np.sqrt(lengths / np.median(lengths))[:, None] / lengths[:, None]
    found = coexpression_vectors(weights, 5, seed=1)
    np.testing.assert_allclose(found @ found.T, loadings @ loadings.T, atol=1e-5)


def test_genes_of_one_kind_of_cell_point_the_same_way(weights):
    vectors = coexpression_vectors(weights, 3, seed=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    same, other = cosines[:20, :20].mean(), cosines[:20, 20:40].mean()
    assert same > other + 0.5


def test_genes_that_tell_nothing_and_too_many_dimensions():
    """A gene of no cell, and one that weighs the same in all, have no vector."""
    dense = np.eye(40)[np.arange(90) % 40] * 0.8
    dense = np.column_stack([np.zeros(90), np.full(90, 0.6), dense])
    vectors = coexpression_vectors(csr_matrix(dense), 100, seed=0)
    assert vectors.shape == (42, 100)
    assert not vectors[:2].any()
    assert np.linalg.norm(vectors[2:], axis=1).min() > 0
    assert not vectors[:, 41:].any()


def test_later_places_weigh_less():
    weights = weights_of_places(np.arange(2048))
    assert weights[0] == 1
    assert weights[15] == 0.5
    assert (np.diff(weights) < 0).all()
