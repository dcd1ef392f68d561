"""Vectors of genes against numpy's dense decomposition."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from rankformer.corpus.coexpression import coexpression_vectors


@pytest.fixture
def presence():
    """Two kinds of cells, with 20 genes each of their own, and 20 genes at random."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 300)
    chance = np.full((300, 60), 0.3)
    chance[:, :20] = np.where(kind == 0, 0.7, 0.1)[:, None]
    chance[:, 20:40] = np.where(kind == 1, 0.7, 0.1)[:, None]
    return csr_matrix((rng.random((300, 60)) < chance).astype(np.float32))


def test_they_are_the_loadings_of_a_dense_decomposition(presence):
    dense = presence.toarray().astype(np.float64)
    standardised = (dense - dense.mean(axis=0)) / dense.std(axis=0)
    _, strengths, directions = np.linalg.svd(standardised, full_matrices=False)
    loadings = (directions[:5] * strengths[:5, None]).T
    loadings /= np.linalg.norm(loadings, axis=1, keepdims=True)
    found = coexpression_vectors(presence, 5, seed=1)
    np.testing.assert_allclose(found @ found.T, loadings @ loadings.T, atol=1e-5)


def test_genes_of_one_kind_of_cell_point_the_same_way(presence):
    vectors = coexpression_vectors(presence, 8, seed=0)
    cosines = vectors @ vectors.T
    same, other = cosines[:20, :20].mean(), cosines[:20, 20:40].mean()
    assert same > 0.5
    assert other < -0.3


def test_genes_that_tell_nothing_and_too_many_dimensions(presence):
    dense = presence.toarray()
    dense[:, 0], dense[:, 1] = 0, 1
    vectors = coexpression_vectors(csr_matrix(dense), 100, seed=0)
    assert vectors.shape == (60, 100)
    assert not vectors[:2].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[2:], axis=1), 1, atol=1e-5)
