"""Labels are read alike everywhere: as text, whole numbers without a point, some as none."""

import numpy as np
import pandas as pd
import pytest

from rankformer.data.class_names import read_class_names, tell_unmatched
from rankformer.errors import SettingsError


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([2, 10, None]),
        pd.Series([2, 10, None], dtype="Int64"),
        pd.Series(["2", "10", None]),
        pd.Series(pd.Categorical([2, 10, None])),
        pd.Series(pd.Categorical([2.0, 10.0, None])),
        pd.Series(["2", "10", "unassigned"]),
    ],
    ids=["float", "nullable", "text", "categorical", "categorical of floats", "a name for none"],
)
def test_clusters_by_number_are_one_label_however_they_are_stored(column):
    names = read_class_names(column, "the column", none=["unassigned"])
    assert names.tolist() == ["2", "10", None]


def test_numbers_that_are_not_whole_are_no_classes():
    with pytest.raises(SettingsError, match=r"the score holds numbers such as 0\.25"):
        read_class_names(pd.Series([1.0, 0.25, np.nan]), "the score")


def test_a_name_for_none_that_is_not_there_is_told(caplog):
    names = read_class_names(pd.Series(["T", "B", "unassigned"]), "cell_type")
    tell_unmatched(names, ["unassigned"], "cell_type")
    assert not caplog.records
    tell_unmatched(names, ["unassinged", "unassigned"], "cell_type")
    assert "cell_type has no unassinged, which was said to be no label" in caplog.text
