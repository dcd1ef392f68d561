"""Cells kept out of training: none is on both sides, groups stay whole."""

import logging
from contextlib import nullcontext
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankformer.errors import SettingsError
from rankformer.training.splits import hold_out_cells, hold_out_groups


@given(
    rows=st.sets(st.integers(0, 999), min_size=2).map(sorted),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 9),
)
def test_cells(rows, share, seed):
    rows = np.array(rows)
    trained, held_out = hold_out_cells(rows, share, seed)
    assert np.sort(np.concatenate([trained, held_out])).tolist() == rows.tolist()
    assert len(trained)
    assert abs(len(held_out) - share * len(rows)) <= 1


def test_at_least_one_cell_where_any_is_asked_for():
    rows = np.arange(10)
    assert [len(hold_out_cells(rows, share, 0)[1]) for share in (0, 1e-9, 0.04, 1)] == [0, 1, 1, 9]


def test_the_seed_decides_which_cells():
    first, same, other = (
        hold_out_cells(np.arange(100), 0.2, seed)[1].tolist() for seed in (0, 0, 1)
    )
    assert first == same != other


def test_one_group_is_always_left_to_train_on():
    trained, held_out = hold_out_groups(np.arange(20), donors_of([10, 10]), 0.95, seed=0)
    assert (len(trained), len(held_out)) == (10, 10)


def test_groups_stay_whole():
    rng = np.random.default_rng(0)
    rows = np.arange(0, 2000, 2)
    donors = pd.Series(rng.integers(0, 20, len(rows)), name="donor").astype(str)
    trained, held_out = hold_out_groups(rows, donors, 0.2, seed=3)
    of_row = dict(zip(rows, donors, strict=True))
    assert not {of_row[row] for row in trained} & {of_row[row] for row in held_out}
    assert len(held_out) / len(rows) == pytest.approx(0.2, rel=0.1)
    assert len(trained) + len(held_out) == len(rows)


def donors_of(sizes):
    return pd.Series(np.repeat([f"donor{i}" for i in range(len(sizes))], sizes), name="donor")


@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=6),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 9),
)
@settings(deadline=None)
def test_the_share_is_the_nearest_that_groups_allow(sizes, share, seed):
    """Beside all choices of groups that there are."""
    donors, n_cells = donors_of(sizes), sum(sizes)
    choices = [sum(chosen) for n in range(1, len(sizes)) for chosen in combinations(sizes, n)]
    least = min(abs(total - share * n_cells) for total in choices)
    try:
        _, held_out = hold_out_groups(np.arange(n_cells), donors, share, seed)
    except SettingsError:
        nearest = [total for total in choices if abs(total - share * n_cells) <= least + 1e-9]
        assert max(nearest) > 3 * share * n_cells
        return
    assert abs(len(held_out) - share * n_cells) <= max(least, share * n_cells / 10) + 1e-9


def test_one_large_donor_is_never_held_out_for_a_tenth(caplog):
    donors = donors_of([500, *[50] * 10])
    with caplog.at_level(logging.INFO, "rankformer"):
        held = [hold_out_groups(np.arange(1000), donors, 0.1, seed)[1] for seed in range(60)]
    assert {len(rows) for rows in held} == {100}
    assert len({tuple(rows) for rows in held}) > 20
    assert "2 of 11 groups of donor are held out, with 10.0% of the cells" in caplog.text


def test_the_seed_decides_which_groups():
    donors = donors_of([20] * 30)
    drawn = [
        {tuple(hold_out_groups(np.arange(600), donors, 0.1, seed)[1]) for _ in range(5)}
        for seed in range(6)
    ]
    assert all(len(each) == 1 for each in drawn)
    assert len(set.union(*drawn)) > 1


@pytest.mark.parametrize(
    ("n_groups", "share", "level"),
    [(10, 0.1, "INFO"), (10, 0.081, "INFO"), (10, 0.079, "WARNING"), (5, 0.1, "WARNING")],
)
def test_a_share_that_is_off_by_more_than_a_quarter_is_a_warning(caplog, n_groups, share, level):
    caplog.set_level(logging.INFO, "rankformer")
    groups = pd.Series(np.arange(1000) % n_groups, name="donor")
    hold_out_groups(np.arange(1000), groups, share, seed=0)
    assert [each.levelname for each in caplog.records] == [level]


@pytest.mark.parametrize(("share", "is_refused"), [(0.034, False), (0.033, True)])
def test_thrice_the_share_is_the_most(share, is_refused):
    groups = pd.Series(np.arange(1000) % 10, name="donor")
    context = pytest.raises(SettingsError, match="3 times") if is_refused else nullcontext()
    with context:
        hold_out_groups(np.arange(1000), groups, share, seed=0)


def test_groups_that_are_too_large_are_told():
    with pytest.raises(SettingsError, match=r"33\.3% of the cells.*held_out_share=0\.333"):
        hold_out_groups(np.arange(30), donors_of([10, 10, 10]), 0.1, seed=0)


def test_groups_that_cannot_be_split():
    rows = np.arange(6)
    with pytest.raises(SettingsError, match="1 group"):
        hold_out_groups(rows, pd.Series(["a"] * 6, name="donor"), 0.1, seed=0)
    with pytest.raises(SettingsError, match="1 of 6 cells have no donor") as error:
        hold_out_groups(rows, pd.Series(["a", None, "b", "a", "b", "c"], name="donor"), 0.1, seed=0)
    assert "(--held-out-by)" in error.value.fix
