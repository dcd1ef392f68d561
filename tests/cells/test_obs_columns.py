"""Labels are read alike everywhere: as text, whole numbers without a point, some as none."""

import numpy as np
import pandas as pd
import pytest

from rankformer.cells.obs_columns import expect_classes, leave_out, read_class_names, require_column
from rankformer.errors import SettingsError
from rankformer.names import as_names


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([2, 10, None]),
        pd.Series([2, 10, None], dtype="Int64"),
        pd.Series(["2", "10", None]),
        pd.Series(pd.Categorical([2, 10, None])),
        pd.Series(pd.Categorical([2.0, 10.0, None])),
        pd.concat([pd.Series([2.0]), pd.Series(["10", None], dtype="category")]),
    ],
    ids=["float", "nullable", "text", "categorical", "categorical of floats", "two files"],
)
def test_clusters_by_number_are_one_label_however_they_are_stored(column):
    assert read_class_names(column, "the column").tolist() == ["2", "10", None]


@pytest.mark.parametrize("odd", [0.25, np.inf, 2.0**53, 1e20], ids=str)
@pytest.mark.parametrize("dtype", ["float64", object])
def test_numbers_that_are_not_whole_are_no_classes(odd, dtype):
    with pytest.raises(SettingsError, match="the score holds numbers such as"):
        read_class_names(pd.Series([1.0, odd, np.nan], dtype=dtype), "the score")


def counted(n_cells, dtype="int64"):
    """Counts of cells, spread as those of a 10x run are."""
    draw = np.random.default_rng(3)
    return pd.Series(draw.lognormal(7.7, 0.4, n_cells).round(), dtype=dtype)


@pytest.mark.parametrize(
    "column",
    [
        counted(60), counted(700), counted(2700, "float32"), counted(200_000),
        counted(2700).astype("category"), counted(2700).astype(str),
        pd.Series([f"AAAC{i}" for i in range(300)]),
    ],
)  # fmt: skip
def test_values_of_single_cells_are_no_labels(column):
    names = read_class_names(column, "obs['x']")
    with pytest.raises(SettingsError, match=r"^obs\['x'\] holds .* different values") as refused:
        expect_classes(names, "obs['x']", "Take another.")
    assert refused.value.fix == "Take another."


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(np.arange(3000) % 40),
        pd.Series((np.arange(3000) % 200).astype(str)),
        pd.Series(np.arange(3000.0) % 12),
        pd.Series(np.repeat([10123, 20456, 30001], 100)),
        pd.Series([f"type {i}" for i in range(15)]),
        pd.Series([f"type {i % 150}" for i in range(400)]),
    ],
)  # fmt: skip
def test_clusters_and_types_are_labels(column):
    expect_classes(read_class_names(column, "obs['x']"), "obs['x']", "Take another.")


def test_names_for_none(caplog):
    names = read_class_names(pd.Series([0, 1, -1]), "cluster")
    leave_out(names, [-1], "cluster")
    assert names.tolist() == ["0", "1", None]
    assert not caplog.records
    leave_out(names, ["unassinged"], "cluster")
    assert "cluster has no unassinged, which was said to be no label" in caplog.text


def test_a_class_that_says_that_there_is_no_label_is_told(caplog):
    names = read_class_names(pd.Series(["B", "Unassigned", "NK"]), "cluster")
    leave_out(names, [], "cluster")
    assert "cluster has a class Unassigned, which is treated as a label" in caplog.text
    assert "--unlabelled Unassigned" in caplog.text
    caplog.clear()
    leave_out(names, ["Unassigned"], "cluster")
    assert not caplog.records


@pytest.mark.parametrize("given", [7, [7], ["a", None], {"a"}, 0.5])
def test_names_are_texts(given):
    assert as_names("a", "label") == ("a",)
    assert as_names(["a", "b"], "label") == ("a", "b")
    with pytest.raises(SettingsError, match=r"^label is "):
        as_names(given, "label")


def test_a_column_that_is_not_there_is_told_with_those_that_are():
    table = pd.DataFrame({"kind": ["B"], "donor": ["d"]})
    require_column(table, "kind", "--label")
    with pytest.raises(SettingsError) as refused:
        require_column(table, "sort", "--label")
    assert refused.value.found == "obs has no column 'sort'."
    assert refused.value.expected == "One of kind, donor."
    assert refused.value.fix == "Correct --label."
    with pytest.raises(SettingsError, match="The table has no column 'a'"):
        require_column(pd.DataFrame(), "a", "--label", "The table")
