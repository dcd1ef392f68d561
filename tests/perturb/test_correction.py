"""Gaussian processes that correct a screen, beside scikit-learn and what must hold."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from rankformer.perturb.correction import Correction, KnownErrors


def draw(n=20, n_cells=4, seed=0):
    rng = np.random.default_rng(seed)
    places = rng.random(n)
    errors = np.column_stack([np.sin(5 * places), 7 + places**2]) + 0.05 * rng.normal(size=(n, 2))
    return KnownErrors(rng.integers(0, n_cells, n), places, errors)


def test_of_one_cell_it_is_the_process_of_scikit_learn():
    known = draw(n_cells=1)
    x = np.linspace(0, 1, 11)
    found = Correction(known).predict(x, 0)
    kernel = ConstantKernel(1.5) * RBF(0.2) + ConstantKernel(1e4 + 0.3) + WhiteKernel(0.1)
    for column in range(2):
        theirs = GaussianProcessRegressor(kernel, optimizer=None, alpha=0)
        theirs.fit(known.places[:, None], known.errors[:, column])
        np.testing.assert_allclose(found[:, column], theirs.predict(x[:, None]), atol=1e-6)


def test_what_is_left_out_takes_no_part():
    known = draw()
    left_out = Correction(known).leave_out()
    for place in range(len(known.cells)):
        others = np.delete(np.arange(len(known.cells)), place)
        rest = KnownErrors(known.cells[others], known.places[others], known.errors[others])
        own = Correction(rest).predict(known.places[[place]], known.cells[place])
        np.testing.assert_allclose(left_out[place], own[0], atol=1e-6)


def test_a_cell_is_nearer_to_itself_and_former_cells_are_like_any_other():
    places = np.array([0.5, 0.5])
    known = KnownErrors(np.array([0, 1]), places, np.array([[1.0], [-1.0]]))
    correction = Correction(known)
    assert correction.predict(places[:1], 0)[0, 0] > 0.3
    assert correction.predict(places[:1], 7)[0, 0] == pytest.approx(0, abs=1e-6)
    later = Correction(known.forget_cells(10))
    assert later.predict(places[:1], 0)[0, 0] == pytest.approx(0, abs=1e-6)
    assert later.predict(places[:1], -1)[0, 0] == pytest.approx(0, abs=1e-6)


def test_the_last_errors_are_kept():
    known = draw(n=30)
    kept = known.forget_cells(12)
    np.testing.assert_array_equal(kept.errors, known.errors[-12:])
    assert (kept.cells == -1).all()
    assert len(known.join(kept).cells) == 42
