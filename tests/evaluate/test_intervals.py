"""Intervals by bootstrap, against draws made one by one with scikit-learn's F1."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from rankformer.evaluate.intervals import macro_f1_interval


def cells(n_cells=300, n_classes=4, n_groups=12, seed=0):
    """Classes, two draws of predictions that are mostly right, and groups of unlike size."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_classes, n_cells)
    predicted = [
        np.where(rng.random(n_cells) < 0.8, codes, rng.integers(0, n_classes, n_cells))
        for _ in range(2)
    ]
    groups = np.array([f"d{each}" for each in rng.integers(0, n_groups, n_cells) // 2], object)
    return codes, predicted, groups


def draw_plainly(codes, predicted, groups, n_draws=2_000):
    """Groups with all their cells, or of each class as many cells as there are, one by one."""
    rng = np.random.default_rng(1)
    names = np.unique(groups if groups is not None else codes)
    rows_of = [np.flatnonzero((codes if groups is None else groups) == name) for name in names]
    means = []
    for _ in range(n_draws):
        if groups is None:
            drawn = [rng.choice(rows, len(rows)) for rows in rows_of]
        else:
            drawn = [rows_of[place] for place in rng.integers(0, len(names), len(names))]
        rows = np.concatenate(drawn)
        labels = np.unique(codes[rows])
        means.append(
            np.mean([f1_score(codes[rows], each[rows], labels=labels, average="macro")
                     for each in predicted])
        )  # fmt: skip
    return np.quantile(means, (0.025, 0.975))


@pytest.mark.parametrize("over", ["groups", "cells"])
def test_equals_what_is_drawn_one_by_one(over):
    codes, predicted, groups = cells()
    groups = groups if over == "groups" else None
    found = macro_f1_interval(codes, predicted, groups)
    np.testing.assert_allclose(found, draw_plainly(codes, predicted, groups), atol=0.01)


def test_donors_that_differ_make_it_wider_than_as_many_cells():
    codes, _, groups = cells(n_cells=1_000)
    wrong = (codes + 1) % 4
    # Two donors are named wrongly throughout, the others rightly.
    predicted = [np.where(np.isin(groups, ["d0", "d1"]), wrong, codes)]
    by_donor = macro_f1_interval(codes, predicted, groups)
    by_cell = macro_f1_interval(codes, predicted)
    assert np.diff(by_donor) > 4 * np.diff(by_cell)


def test_it_holds_the_true_value_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    n_held = 0
    for seed in range(200):
        codes = rng.integers(0, 2, 200)
        predicted = np.where(rng.random(200) < 0.8, codes, 1 - codes)
        low, high = macro_f1_interval(codes, [predicted], seed=seed)
        n_held += low <= 0.8 <= high
    assert 178 <= n_held <= 199


def test_a_figure_without_a_doubt_has_no_width():
    codes, _, groups = cells()
    assert macro_f1_interval(codes, [codes], groups) == (1.0, 1.0)
