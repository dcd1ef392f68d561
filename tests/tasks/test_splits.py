"""Splits tear no group, and each unit is where it is said to be."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankformer.errors import SettingsError
from rankformer.tasks.splits import PARTS, SplitPlan, split_units


def parts_of(split):
    return [getattr(split, part) for part in PARTS]


def check_whole(split, n_units):
    joined = np.concatenate(parts_of(split))
    assert sorted(joined.tolist()) == list(range(n_units))
    assert all((np.diff(part) > 0).all() for part in parts_of(split))


@settings(deadline=None)
@given(
    groups=st.lists(st.integers(0, 7), min_size=30, max_size=80),
    folds=st.sampled_from([None, 2, 3]),
    seed=st.integers(0, 5),
)
def test_groups_are_never_torn(groups, folds, seed):
    names = pd.Series([f"donor{each}" for each in groups], name="donor")
    classes = np.array([f"kind{i % 3}" for i in range(len(groups))], dtype=object)
    plan = SplitPlan(validation_share=0.2, test_share=0.2, n_folds=folds, seed=seed)
    if names.nunique() < 3:
        return
    tested = []
    for split in split_units(classes, names, plan):
        check_whole(split, len(groups))
        assert len(split.train)
        assert len(split.test)
        assert not set(names[split.test]) & set(names[split.train])
        assert not set(names[split.test]) & set(names[split.validation])
        if len(set(names.drop(split.test))) > 1:
            assert not set(names[split.validation]) & set(names[split.train])
        tested.extend(split.test.tolist())
    if folds:
        assert sorted(tested) == list(range(len(groups)))


@settings(deadline=None)
@given(sizes=st.lists(st.integers(3, 40), min_size=2, max_size=5), seed=st.integers(0, 5))
def test_without_groups_each_part_has_its_share_of_each_class(sizes, seed):
    classes = np.repeat([f"kind{i}" for i in range(len(sizes))], sizes).astype(object)
    (split,) = split_units(classes, None, SplitPlan(0.2, 0.2, seed=seed))
    check_whole(split, len(classes))
    for i, size in enumerate(sizes):
        for part in (split.validation, split.test):
            n_own = (classes[part] == f"kind{i}").sum()
            assert abs(n_own - 0.2 * size) <= 1


def test_the_seed_decides():
    classes = np.array(["a", "b"] * 50, dtype=object)
    found = [
        next(split_units(classes, None, SplitPlan(seed=seed))).test.tolist() for seed in (0, 0, 1)
    ]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_groups_of_unlike_size():
    """One donor of 1,000 cells and 20 of 50: a tenth is tested on, drawn by the seed."""
    groups = pd.Series(np.repeat(np.arange(21), [1000] + [50] * 20))
    classes = np.array(["x", "y"] * 1000, dtype=object)
    tested = set()
    for seed in range(6):
        (split,) = split_units(classes, groups, SplitPlan(0.1, 0.1, seed=seed))
        assert len(split.test) == 200
        assert 150 <= len(split.validation) <= 250
        tested.add(frozenset(groups[split.test]))
    assert len(tested) > 3


def test_where_all_groups_are_large_a_small_one_is_tested_on():
    groups = pd.Series(np.repeat([0, 1, 2], [500, 300, 400]))
    classes = np.array(["x", "y"] * 600, dtype=object)
    splits = [next(split_units(classes, groups, SplitPlan(0.1, 0.1, seed=i))) for i in range(12)]
    assert {tuple(set(groups[split.test])) for split in splits} == {(1,), (2,)}


def test_no_test_part_where_none_is_asked_for():
    classes = np.array(["a", "b"] * 10, dtype=object)
    (split,) = split_units(classes, None, SplitPlan(test_share=0.0))
    assert not len(split.test)
    check_whole(split, 20)


def test_a_single_group_left_is_told(caplog):
    groups = pd.Series(["a"] * 10 + ["b"] * 10)
    classes = np.array(["x", "y"] * 10, dtype=object)
    (split,) = split_units(classes, groups, SplitPlan())
    assert set(groups[split.test]).isdisjoint(groups[split.train])
    assert "One group is left" in caplog.text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"validation_share": 0.0}, "shares to validate"),
        ({"validation_share": 0.6, "test_share": 0.5}, "shares to validate"),
        ({"n_folds": 1}, "1 fold"),
    ],
)
def test_plans_that_there_are_not(change, sentence):
    with pytest.raises(SettingsError, match=sentence):
        SplitPlan(**change)


def test_more_folds_than_groups():
    groups = pd.Series(["a"] * 5 + ["b"] * 5)
    classes = np.array(["x", "y"] * 5, dtype=object)
    with pytest.raises(SettingsError, match="There are 2 groups to make 3 folds"):
        list(split_units(classes, groups, SplitPlan(n_folds=3)))


def test_cells_without_a_group():
    groups = pd.Series(["a", None, "b", "b"], name="donor")
    with pytest.raises(SettingsError, match="1 of 4 cells have no donor"):
        list(split_units(np.array(["x", "y"] * 2, dtype=object), groups, SplitPlan()))
