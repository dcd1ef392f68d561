"""Neighbours: exact ones as scikit-learn finds them, and nearly all of them by the graph."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from rankformer.annotate import neighbours
from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit


@pytest.fixture(scope="module")
def clusters():
    """3,000 vectors of length 1 around 12 centres."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 24))
    vectors = (centres[rng.integers(0, 12, 3000)] + rng.normal(size=(3000, 24))).astype(np.float32)
    scale_to_unit(vectors)
    np.testing.assert_allclose((vectors**2).sum(axis=1), 1, rtol=1e-5)
    return vectors


def sklearn_neighbours(vectors, queries, k):
    return NearestNeighbors(n_neighbors=k, metric="cosine").fit(vectors).kneighbors(queries)


def test_exact_neighbours_are_those_of_scikit_learn(clusters):
    rows, distances = NeighbourIndex.build(clusters[200:]).search(clusters[:200], 9)
    expected, expected_rows = sklearn_neighbours(clusters[200:], clusters[:200], 9)
    np.testing.assert_allclose(distances, expected, atol=1e-6)
    assert (rows == expected_rows).mean() > 0.999


def test_a_cell_is_not_its_own_neighbour_even_among_copies(clusters):
    doubled = np.concatenate([clusters[:50], clusters[:50]])
    rows = np.arange(0, 100, 7)
    found, distances = NeighbourIndex.build(doubled).search_others(rows, 4)
    assert not (found == rows[:, None]).any()
    np.testing.assert_array_equal(found[:, 0], (rows + 50) % 100)
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-6)


def test_the_graph_finds_nearly_all_of_them_with_exact_distances(clusters):
    index = NeighbourIndex.build(clusters[500:], exact_up_to=1000)
    assert index.graph is not None
    rows, distances = index.search(clusters[:500], 15)
    expected, expected_rows = sklearn_neighbours(clusters[500:], clusters[:500], 15)
    shared = [len(np.intersect1d(a, b)) for a, b in zip(rows, expected_rows, strict=True)]
    assert np.mean(shared) / 15 > 0.98
    own = 1 - np.einsum("nd,nkd->nk", clusters[:500], clusters[500:][rows])
    np.testing.assert_allclose(distances, own, atol=1e-6)
    assert (np.diff(distances, axis=1) >= 0).all()
    assert np.isclose(distances[:, 0], expected[:, 0], atol=1e-5).mean() > 0.98


def test_the_graph_gives_as_many_as_asked_for_up_to_all(clusters):
    index = NeighbourIndex.build(clusters[:40], exact_up_to=10)
    rows, _ = index.search(clusters[:1], 40)
    assert sorted(rows[0].tolist()) == list(range(40))


def test_among_more_copies_than_are_asked_for_as_many_others_are_found(clusters):
    """Nine copies of one vector: it need not be among its own four nearest."""
    vectors = np.concatenate([np.repeat(clusters[:1], 9, axis=0), clusters[100:140]])
    rows = np.arange(len(vectors))
    found, distances = NeighbourIndex.build(vectors).search_others(rows, 3)
    assert found.shape == distances.shape == (49, 3)
    assert not (found == rows[:, None]).any()
    np.testing.assert_allclose(distances[:9], 0, atol=1e-6)
    assert (found[:9] < 9).all()


def test_where_the_graph_finds_too_few_all_are_looked_at(clusters):
    index = NeighbourIndex.build(clusters[:20], exact_up_to=10)
    lacking = NeighbourIndex(clusters[:300], index.graph)
    rows, distances = lacking.search(clusters[1000:1050], 25)
    expected, expected_rows = sklearn_neighbours(clusters[:300], clusters[1000:1050], 25)
    np.testing.assert_allclose(distances, expected, atol=1e-6)
    assert (rows == expected_rows).mean() > 0.99


def test_the_graph_holds_each_vector_under_its_row(clusters, monkeypatch):
    monkeypatch.setattr(neighbours, "_ROWS_AT_ONCE", 64)
    index = NeighbourIndex.build(clusters[:300], exact_up_to=299)
    assert len(index.graph) == 300
    # Threads build it in an order of their own, so that a few are not reached. Under wrong rows
    # hardly any would be.
    assert (index.graph.search(clusters[:300], 1).keys.ravel() == np.arange(300)).mean() > 0.9
    assert NeighbourIndex.build(clusters[:300], exact_up_to=300).graph is None


def test_where_there_is_a_graph_it_is_asked(clusters):
    of_some = NeighbourIndex.build(clusters[:100], exact_up_to=10).graph
    rows, _ = NeighbourIndex(clusters[:300], of_some).search(clusters[1000:1050], 5)
    assert (rows < 100).all()


def test_many_queries_are_looked_up_some_at_once(clusters, monkeypatch):
    expected = NeighbourIndex(clusters[:300]).search(clusters[1000:1025], 5)
    monkeypatch.setattr(neighbours, "_DISTANCES_AT_ONCE", 1000)
    rows, distances = NeighbourIndex(clusters[:300]).search(clusters[1000:1025], 5)
    assert (rows.dtype, distances.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_allclose(distances, expected[1], atol=1e-6)


def test_short_vectors_become_as_long_as_others_and_zeros_stay():
    vectors = np.array([[3e-4, 4e-4], [0, 0], [30, -40]], np.float32)
    scale_to_unit(vectors)
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0], [0.6, -0.8]], rtol=1e-6)
