"""Probabilities and scores against brute force and counting by hand."""

import numpy as np
import pytest
from scipy.special import softmax as scipy_softmax

from rankformer.training.metrics import fit_temperature, score_classes, score_numbers, softmax


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


def test_the_temperature_is_one_unless_given():
    logits = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), scipy_softmax(logits.astype(float), axis=1))


def test_the_temperature_of_few_units_is_the_best_of_a_grid():
    """Where what is spread over all classes weighs most; one unit in three is wrong."""
    rng = np.random.default_rng(3)
    truth = np.arange(12) % 4
    logits = rng.normal(size=(12, 4))
    logits[np.arange(12), np.where(np.arange(12) % 3, truth, (truth + 1) % 4)] += 2.0
    grid = np.geomspace(0.05, 20, 8000)
    best = grid[np.argmin([log_loss(logits, truth, each) for each in grid])]
    assert fit_temperature(logits, truth) == pytest.approx(best, rel=0.005)


def test_what_is_added_to_all_logits_of_a_unit_changes_nothing():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    logits = rng.normal(size=(60, 3))
    logits[np.arange(60), truth] += 1.0
    moved = logits + np.where(np.arange(60) % 2, 2000.0, -2000.0)[:, None]
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        found = fit_temperature(moved, truth)
    assert found == pytest.approx(fit_temperature(logits, truth), rel=1e-6)


def test_scores_of_classes_of_which_one_is_not_there():
    """It counts in the probabilities, and has no F1 to average; with three there is no AUC."""
    probabilities = np.array([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
    found = score_classes(probabilities, np.array([0, 1, 1]), ("a", "b", "c"))
    # a: found and named right; b: 1 of 2 found, all named right.
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["log_loss"] == pytest.approx(-np.log([0.7, 0.3, 0.8]).mean())
    assert "auc" not in found


def test_scores_of_few_numbers():
    assert score_numbers(np.array([3.0]), np.array([5.0])) == {"mae": 2.0}
    two = score_numbers(np.array([1.0, 3.0]), np.array([1.0, 5.0]))
    # Squares left: 4, of 8 around the mean.
    assert two == pytest.approx({"r2": 0.5, "mae": 1.0, "spearman": 1.0})
    assert set(score_numbers(np.array([2.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0]))) == {"r2", "mae"}


def test_scores_of_numbers_by_hand():
    found = score_numbers(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    assert found == pytest.approx({"r2": 0.5, "mae": 1 / 3, "spearman": 1.0})
