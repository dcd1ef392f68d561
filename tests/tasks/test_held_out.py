"""Cells kept out of training: none is on both sides, groups stay whole."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankformer.errors import SettingsError
from rankformer.tasks.held_out import hold_out_cells, hold_out_groups


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


def test_groups_stay_whole():
    rng = np.random.default_rng(0)
    rows = np.arange(0, 2000, 2)
    donors = pd.Series(rng.integers(0, 20, len(rows)), name="donor").astype(str)
    trained, held_out = hold_out_groups(rows, donors, 0.2, seed=3)
    of_row = dict(zip(rows, donors, strict=True))
    assert not {of_row[row] for row in trained} & {of_row[row] for row in held_out}
    assert 0.2 <= len(held_out) / len(rows) < 0.35
    assert len(trained) + len(held_out) == len(rows)


def test_groups_that_cannot_be_split():
    rows = np.arange(6)
    with pytest.raises(SettingsError, match="1 group"):
        hold_out_groups(rows, pd.Series(["a"] * 6, name="donor"), 0.1, seed=0)
    with pytest.raises(SettingsError, match="1 of 6 cells have no donor"):
        hold_out_groups(rows, pd.Series(["a", None, "b", "a", "b", "c"], name="donor"), 0.1, seed=0)
