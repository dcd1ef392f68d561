"""Pairs beside pairs of like ranks: a plain re-statement, and what must follow from it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from rankformer.networks.pair_places import LEAST_NEIGHBOURS, compare_pairs


def same_side(source, a, b):
    """Whether two targets lie on the same side of a source."""
    return (a > source) == (b > source)


def near_targets(j, source, n_targets, n_most):
    """As many targets about j on its side of the source as there can be, up to 2 n_most + 1."""
    side = [k for k in range(n_targets) if k != source and same_side(source, j, k)]
    width = min(2 * n_most + 1, len(side))
    first = min(max(side.index(j) - n_most, 0), len(side) - width)
    return side[first : first + width]


def plain_excess(values, ranks):
    n_sources, n_targets = values.shape
    n_rows, n_columns = (max(LEAST_NEIGHBOURS, n // 16) for n in values.shape)
    excess = np.full(values.shape, np.nan)
    for i, source in enumerate(ranks):
        for j in range(n_targets):
            if j == source:
                continue
            columns = near_targets(j, source, n_targets, n_columns)
            rows = [
                k
                for k in range(n_sources)
                if abs(k - i) <= n_rows and ranks[k] != j and (j > ranks[k]) == (j > source)
            ]
            expected = [
                values[i, b] + values[a, j] - values[a, b]
                for a in rows for b in columns
                if a != i and b != j and ranks[a] != b and (b > ranks[a]) == (j > source)
            ]  # fmt: skip
            if expected:
                excess[i, j] = values[i, j] - np.mean(expected)
    beyond = excess.copy()
    for i, j in np.ndindex(values.shape):
        equally_far = [
            excess[k, ranks[k] + j - ranks[i]]
            for k in range(max(i - n_rows, 0), min(i + n_rows + 1, n_sources))
            if k != i and 0 <= ranks[k] + j - ranks[i] < n_targets
        ]
        if not np.all(np.isnan(equally_far)):
            beyond[i, j] -= np.nanmean(equally_far)
    return beyond


@pytest.mark.parametrize("n_sources", [25, 40])
def test_excess_and_place_are_those_of_a_plain_loop(n_sources):
    rng = np.random.default_rng(0)
    ranks = np.sort(rng.choice(40, n_sources, replace=False))
    values = rng.normal(size=(n_sources, 40))
    excess, place = compare_pairs(values, ranks)
    np.testing.assert_allclose(excess, plain_excess(values, ranks), atol=1e-12)
    for i, j in [(0, 5), (7, 39), (20, 3), (n_sources - 1, 0)]:
        if np.isnan(excess[i, j]):
            continue
        others = [k for k in near_targets(j, ranks[i], 40, LEAST_NEIGHBOURS) if k != j]
        seen = excess[i, others][~np.isnan(excess[i, others])]
        assert place[i, j] == pytest.approx(((seen < excess[i, j]).sum() + 0.5) / (len(seen) + 1))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(5, 60), seed=st.integers(0, 1000))
def test_what_is_of_the_source_or_the_target_alone_is_expected(n, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 1)) + 5 * rng.normal(size=n)
    excess, _ = compare_pairs(values, np.arange(n))
    assert np.isnan(excess).mean() < 0.9
    np.testing.assert_allclose(excess[~np.isnan(excess)], 0, atol=1e-9)


def test_a_step_at_the_source_is_expected():
    """A deleted gene moves those behind it alone: this is no effect of its own on each of them."""
    values = np.where(np.arange(80)[:, None] < np.arange(80), 10.0, 0.0)
    excess, _ = compare_pairs(values, np.arange(80))
    np.testing.assert_allclose(excess[~np.isnan(excess)], 0, atol=1e-12)


@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_how_far_apart_genes_stand_makes_no_pair(noise):
    """Neighbours in rank, such as genes of one complex, may be nearer for that alone."""
    rng = np.random.default_rng(3)
    apart = np.abs(np.arange(150)[:, None] - np.arange(150))
    ridge = -np.log1p(apart) + np.linspace(0, 4, 150)[:, None]
    places = [compare_pairs(ridge + noise * rng.normal(size=ridge.shape), np.arange(150))[1]
              for _ in range(4)]  # fmt: skip
    for distance in (1, 2, 5, 30):
        own = np.concatenate([each[apart == distance] for each in places])
        assert np.nanmean(own) == pytest.approx(0.5, abs=0.04)


def test_places_are_uniform_where_nothing_is_and_high_where_something_is():
    rng = np.random.default_rng(1)
    smooth = np.linspace(0, 4, 120)[:, None] * np.linspace(1, 3, 120)
    values = smooth + rng.normal(size=(120, 120))
    values[30, 70] += 8
    _, place = compare_pairs(values, np.arange(120))
    assert place[30, 70] > 0.95
    sample = place[rng.permuted(np.indices((120, 120)).reshape(2, -1), axis=1)[0][:800],
                   rng.integers(0, 120, 800)]  # fmt: skip
    assert kstest(sample[~np.isnan(sample)], "uniform").pvalue > 0.001
