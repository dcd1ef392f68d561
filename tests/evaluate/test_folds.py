"""Folds of an evaluation: each cell is tested once, no group is torn, seeds differ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankformer.errors import SettingsError
from rankformer.evaluate.folds import draw_folds


def rows_tested(folds):
    return [[test.tolist() for _, test in draw] for draw in folds.draws]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=40, max_size=80),
    st.integers(2, 5),
    st.booleans(),
)
def test_folds(cells, n_folds, by_group):
    codes, groups = (np.array(each) for each in zip(*cells, strict=True))
    groups = groups.astype(str).astype(object)
    if len(set(groups)) < 2 or np.bincount(codes).max() < n_folds:
        return
    folds = draw_folds(codes, groups if by_group else None, n_folds=n_folds, n_seeds=2)
    for draw in folds.draws:
        tested = np.concatenate([test for _, test in draw])
        assert sorted(tested) == list(range(len(codes)))
        for train, test in draw:
            assert len(np.union1d(train, test)) == len(codes)
            assert not set(train) & set(test)
            assert not (by_group and set(groups[train]) & set(groups[test]))


def test_small_classes_of_many_groups_are_folded_all_the_same():
    codes, groups = np.array([0, 0, 1, 1, 2, 2]), np.array(list("abcdef"), object)
    (draw,) = draw_folds(codes, groups, n_folds=5, n_seeds=1).draws
    assert sorted(np.concatenate([test for _, test in draw])) == list(range(6))


def test_groups_that_are_no_more_than_folds_are_the_folds():
    """By name, and once for all seeds: there is nothing to draw."""
    groups = np.array(["d2", "d1", "d3"] * 6, object)
    codes = np.array([0, 1] * 9)
    for n_folds in (3, 5):
        folds = draw_folds(codes, groups, n_folds=n_folds, n_seeds=4)
        assert folds.names == (("d1", "d2", "d3"),)
        assert folds.n_folds == 3
        (draw,) = folds.draws
        for name, (train, test) in zip(folds.names[0], draw, strict=True):
            assert test.tolist() == np.flatnonzero(groups == name).tolist()
            assert train.tolist() == np.flatnonzero(groups != name).tolist()


@pytest.mark.parametrize("by_group", [False, True])
def test_seeds_draw_other_folds_and_the_same_again(by_group):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 90)
    groups = rng.integers(0, 30, 90).astype(str).astype(object) if by_group else None
    folds = draw_folds(codes, groups, n_folds=3, n_seeds=3)
    first, second, third = rows_tested(folds)
    assert first != second != third != first
    assert rows_tested(draw_folds(codes, groups, n_folds=3, n_seeds=3)) == [first, second, third]
    assert folds.names == (("1", "2", "3"),) * 3
    assert folds.n_folds == 3


def test_a_class_as_large_as_the_folds_are_many(caplog):
    folds = draw_folds(np.array([0, 0, 0, 1]), None, n_folds=3, n_seeds=1, label="kind")
    assert all(len(test) for _, test in folds.draws[0])
    assert "how well kind is learned within these" in caplog.text


@pytest.mark.parametrize(
    ("codes", "groups", "n_folds", "n_seeds", "found"),
    [
        ([0, 1] * 9, None, 1, 1, "1 fold"),
        ([0, 1] * 9, None, 2, 0, "0 seed"),
        ([0, 1] * 9, ["d1"] * 18, 2, 1, "of one group \\(d1\\)"),
        ([0, 0, 1, 1], None, 3, 1, "4 cells are to be cut into 3 folds"),
    ],
)
def test_folds_that_there_are_not(codes, groups, n_folds, n_seeds, found):
    groups = None if groups is None else np.array(groups, object)
    with pytest.raises(SettingsError, match=found):
        draw_folds(np.array(codes), groups, n_folds=n_folds, n_seeds=n_seeds)


def test_a_fold_for_each_cell():
    folds = draw_folds(np.zeros(3, np.int64), None, n_folds=3, n_seeds=1)
    assert sorted(test.tolist() for _, test in folds.draws[0]) == [[0], [1], [2]]


def test_two_folds_of_two_groups_are_enough():
    groups = np.array(["d1", "d2"] * 2, object)
    folds = draw_folds(np.array([0, 0, 1, 1]), groups, n_folds=2, n_seeds=1)
    assert folds.n_folds == 2
