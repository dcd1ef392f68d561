"""Probabilities and scores against brute force and counting by hand."""

import numpy as np
import pytest

from rankformer.tasks.scores import fit_temperature, score_classes, score_numbers, softmax


def log_loss(logits, truth, temperature):
    """Of labels of which 1 / (n + 2) is spread over all classes."""
    n_units, n_classes = logits.shape
    probabilities = np.exp(logits / temperature)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    targets = np.full((n_units, n_classes), 1 / (n_units + 2) / n_classes)
    targets[np.arange(n_units), truth] += 1 - 1 / (n_units + 2)
    return -(targets * np.log(probabilities)).sum(axis=1).mean()


def test_the_temperature_is_the_best_of_a_grid():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 500)
    logits = rng.normal(size=(500, 3))
    logits[np.arange(500), truth] += 1.0
    grid = np.geomspace(0.05, 20, 4000)
    for sharpness in (0.3, 1.0, 5.0):
        best = grid[np.argmin([log_loss(sharpness * logits, truth, each) for each in grid])]
        assert fit_temperature(sharpness * logits, truth) == pytest.approx(best, rel=0.01)


@pytest.mark.parametrize("n_units", [3, 30, 300])
def test_units_that_are_all_right_give_no_certainty(n_units):
    """Of n units that are all right, one more in n + 2 could be wrong: Laplace's rule."""
    truth = np.arange(n_units) % 3
    logits = 0.5 * np.eye(3)[truth]
    own = softmax(logits, fit_temperature(logits, truth)).max()
    assert own == pytest.approx(1 - 2 / 3 / (n_units + 2), rel=1e-3)


def test_probabilities_add_up_and_huge_logits_do_not_overflow():
    found = softmax(np.array([[1e4, 0.0], [0.0, 0.0], [np.nan, np.nan]]), 2.0)
    np.testing.assert_allclose(found[:2], [[1.0, 0.0], [0.5, 0.5]])
    assert np.isnan(found[2]).all()


def test_scores_of_classes_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.6, 0.4]])
    truth = np.array([0, 0, 0, 1, 1])
    found = score_classes(probabilities, truth, ("a", "b"))
    # a: 2 of 3 found, 2 of 3 named right; b: 1 of 2, 1 of 2.
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.7, 0.4]).mean())
    # Of the six pairs of a and b, the b is the likelier one in five.
    assert found["auc"] == pytest.approx(5 / 6)


def test_scores_of_numbers_by_hand():
    found = score_numbers(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    assert found == pytest.approx({"r2": 0.5, "mae": 1 / 3, "spearman": 1.0})
