"""Names that hide nothing: heights a gap apart, lines that do not cross, boxes side by side."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rankformer.show.label_layout import push_apart, spread, uncross

heights = st.lists(st.floats(0, 1), min_size=1, max_size=10).map(sorted).map(np.array)
points = st.lists(st.tuples(st.floats(0, 0.7), st.floats(0, 1)), min_size=2, max_size=12)


def cross(a, b, c, d):
    """Whether the inner parts of the lines ab and cd meet."""

    def side(p, q, r):
        return np.sign(round((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]), 9))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


@given(heights)
def test_heights_lie_a_gap_apart_and_within(given_heights):
    found = spread(given_heights, 0.1)
    assert np.diff(found).min(initial=1) >= 0.1 - 1e-9
    assert found.min() >= 0.05 - 1e-9
    assert found.max() <= 0.95 + 1e-9


def test_heights_that_fit_stay():
    np.testing.assert_allclose(spread(np.array([0.2, 0.5, 0.8]), 0.1), [0.2, 0.5, 0.8])
    np.testing.assert_allclose(spread(np.array([0.5, 0.5]), 0.1), [0.45, 0.55])


@settings(deadline=None)
@given(points)
def test_lines_do_not_cross(dots):
    starts = np.array(sorted(set(dots), key=lambda each: each[1]))
    ends = np.column_stack([np.full(len(starts), 0.8), np.linspace(0.05, 0.95, len(starts))])
    chosen = uncross(starts, ends)
    assert sorted(chosen) == list(range(len(starts)))
    lines = [(a, ends[i]) for a, i in zip(starts, chosen, strict=True)]
    assert not any(cross(*a, *b) for a, b in combinations(lines, 2))


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 25), st.integers(0, 1000))
def test_boxes_do_not_overlap(n, seed):
    rng = np.random.default_rng(seed)
    centres, halves = rng.uniform(0, 60, (n, 2)), rng.uniform(2, 12, (n, 2))
    placed = push_apart(centres, halves)
    shared = sum(
        np.clip(halves[i] + halves[j] - np.abs(placed[i] - placed[j]), 0, None).prod()
        for i, j in combinations(range(n), 2)
    )
    assert shared < 0.02 * 4 * halves.prod(axis=1).sum()


def test_boxes_that_are_apart_stay():
    centres = np.array([[0.0, 0.0], [50.0, 0.0]])
    np.testing.assert_array_equal(push_apart(centres, np.full((2, 2), 5.0)), centres)
