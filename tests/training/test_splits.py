"""Splits tear no group, and each unit is where it is said to be."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankformer.errors import SettingsError
from rankformer.training.split_plan import SplitPlan
from rankformer.training.splits import PARTS, draw_stratified_folds, split_units


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
@given(
    sizes=st.lists(st.integers(5, 40), min_size=1, max_size=5),
    folds=st.sampled_from([None, 2, 5]),
    seed=st.integers(0, 5),
)
def test_without_groups_each_part_has_its_share_of_each_class(sizes, folds, seed):
    classes = np.repeat([f"kind{i}" for i in range(len(sizes))], sizes).astype(object)
    splits = list(split_units(classes, None, SplitPlan(0.2, 0.2, folds, seed)))
    assert len(splits) == (folds or 1)
    test_share = 1 / folds if folds else 0.2
    validation_share = 0.2 * (1 - test_share) if folds else 0.2
    for split in splits:
        check_whole(split, len(classes))
        for i, size in enumerate(sizes):
            for part, share in ((split.validation, validation_share), (split.test, test_share)):
                n_own = (classes[part] == f"kind{i}").sum()
                assert abs(n_own - share * size) <= 1
    if folds:
        assert sorted(np.concatenate([split.test for split in splits])) == list(range(len(classes)))


@pytest.mark.parametrize("folds", [None, 3])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_seed_decides(grouped, folds):
    classes = np.array(["a", "b"] * 60, dtype=object)
    groups = pd.Series(np.arange(120) // 6) if grouped else None

    def draw(seed):
        plan = SplitPlan(0.2, 0.2, folds, seed)
        return [
            [part.tolist() for part in parts_of(split)]
            for split in split_units(classes, groups, plan)
        ]

    first, same, other = draw(0), draw(0), draw(1)
    assert first == same
    for one, two in zip(first, other, strict=True):
        assert all(a != b for a, b in zip(one, two, strict=True))


def test_a_class_of_a_single_unit_is_trained_on():
    classes = np.array(["rare", *["a", "b"] * 20], dtype=object)
    for seed in range(5):
        (split,) = split_units(classes, None, SplitPlan(0.3, 0.3, seed=seed))
        assert 0 in split.train


def test_classes_of_single_units_cannot_be_split():
    with pytest.raises(SettingsError, match="3 labelled units, which cannot be split"):
        list(split_units(np.array(["a", "b", "c"], dtype=object), None, SplitPlan()))


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_of_classes_that_are_all_too_small(grouped):
    """There is nothing to stratify by, and each unit is tested once all the same."""
    classes = np.array([f"kind{i}" for i in range(12)], dtype=object)
    groups = np.arange(12) if grouped else None
    found = draw_stratified_folds(classes, groups, n_folds=4, seed=0)
    assert [len(part) for _, part in found] == [3, 3, 3, 3]
    assert sorted(np.concatenate([part for _, part in found])) == list(range(12))


def test_a_class_with_a_member_for_each_fold_has_one_in_each():
    classes = np.array(["a"] * 4 + ["rare"] * 3 + [f"kind{i}" for i in range(5)], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws = [draw_stratified_folds(classes, None, n_folds=4, seed=seed) for seed in range(8)]
    assert all((classes[part] == "a").sum() == 1 for folds in draws for _, part in folds)


def test_as_many_folds_as_groups(caplog):
    groups = pd.Series(np.repeat(["d1", "d2", "d3"], 10))
    classes = np.array(["x", "y"] * 15, dtype=object)
    tested = [
        set(groups[split.test]) for split in split_units(classes, groups, SplitPlan(n_folds=3))
    ]
    assert sorted(map(sorted, tested)) == [["d1"], ["d2"], ["d3"]]
    assert not caplog.text


def test_fewer_folds_than_asked_for_are_told(caplog):
    """sklearn leaves a fold empty here: the group of one unit goes where its class is short of."""
    groups = pd.Series(np.repeat(np.arange(4), [52, 1, 28, 62]))
    classes = np.repeat(["b", "a", "a", "b"], [52, 1, 12, 78]).astype(object)
    splits = list(split_units(classes, groups, SplitPlan(n_folds=4)))
    assert len(splits) == 3
    assert all(len(split.test) for split in splits)
    assert "4 folds were asked for, and 3 are made" in caplog.text


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


def test_a_group_of_one_and_a_half_times_the_share_is_taken():
    """Not more: larger ones are left to be trained on."""
    sizes = [150] * 4 + [151, 149, 100]
    groups = pd.Series(np.repeat(np.arange(7), sizes))
    classes = np.array(["x", "y"] * 500, dtype=object)
    splits = [next(split_units(classes, groups, SplitPlan(0.1, 0.1, seed=i))) for i in range(40)]
    assert {len(split.test) for split in splits} == {100, 149, 150}


def test_where_all_groups_are_large_those_near_the_smallest_are_drawn_from():
    groups = pd.Series(np.repeat([0, 1, 2], [200, 300, 301]))
    classes = np.array(["x"] * 801, dtype=object)
    splits = [next(split_units(classes, groups, SplitPlan(0.1, 0.1, seed=i))) for i in range(20)]
    assert {len(split.test) for split in splits} == {200, 300}


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
    assert "Only one group is left" in caplog.text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"validation_share": 0.0}, "shares to validate"),
        ({"validation_share": 0.6, "test_share": 0.5}, "shares to validate"),
        ({"validation_share": 0.5, "test_share": 0.5}, "shares to validate"),
        ({"validation_share": 0.5, "test_share": -0.1}, "shares to validate"),
        ({"validation_share": float("nan")}, "shares to validate"),
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


def test_more_folds_than_units():
    classes = np.array(["x", "y"], dtype=object)
    with pytest.raises(SettingsError, match="There are 2 labelled units to make 3 folds"):
        list(split_units(classes, None, SplitPlan(n_folds=3)))


def test_cells_without_a_group():
    groups = pd.Series(["a", None, "b", "b"], name="donor")
    with pytest.raises(SettingsError, match="1 of 4 cells have no donor") as error:
        list(split_units(np.array(["x", "y"] * 2, dtype=object), groups, SplitPlan()))
    assert "(--group)" in error.value.fix
