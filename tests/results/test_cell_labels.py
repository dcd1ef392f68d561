"""Labels of cells in each format: the same content, the input kept, nothing made up."""

import json
import shutil
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from rankformer.errors import OutputError
from rankformer.results.cell_labels import (
    CellLabels,
    LabelledCells,
    store_labels_in,
    write_cell_labels,
)


@pytest.fixture
def labelled(small_adata):
    """30 cells with a label and a number; the fourth was given nothing."""
    missing = np.full(30, None, dtype=object)
    missing[3] = "no counts in genes of the vocabulary"
    values = np.array(["B", "T"] * 15, dtype=object)
    values[3] = None
    probability = np.linspace(0, 1, 30, dtype=np.float32)
    probability[3] = np.nan
    shares = np.stack([probability, 1 - probability], axis=1)
    number = np.arange(30, dtype=np.float32)
    number[3] = np.nan
    labels = {
        "kind": CellLabels(
            values, probability, probability < 0.5, ("B", "T"), shares,
            {"best": values}, {"task": "classify"},
        ),
        "age": CellLabels(number),
    }  # fmt: skip
    return LabelledCells(labels, missing, small_adata.obs, {"model": "small"})


def check_columns(obs, labelled):
    kind = labelled.labels["kind"]
    assert obs["kind"].isna().tolist() == [i == 3 for i in range(30)]
    assert obs["kind"].dropna().tolist() == [each for each in kind.values if each]
    assert obs["kind_best"].dropna().tolist() == obs["kind"].dropna().tolist()
    np.testing.assert_allclose(obs["kind_probability"], kind.probability, rtol=1e-6)
    assert obs["kind_uncertain"].isna().tolist() == [i == 3 for i in range(30)]
    assert obs["kind_uncertain"].iloc[29] in (False, "False")
    assert obs["kind_missing"].iloc[3] == "no counts in genes of the vocabulary"
    np.testing.assert_array_equal(obs["age"], labelled.labels["age"].values)
    assert obs["age"].dtype.kind == "f"
    assert "age_probability" not in obs
    assert "age_uncertain" not in obs


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_a_copy_of_the_input_with_columns_added(suffix, small_adata, labelled, tmp_path):
    source = tmp_path / f"cells{suffix}"
    small_adata.obs["kind_missing"] = "of an earlier run"
    getattr(small_adata, f"write_{suffix[1:]}")(source)
    out = tmp_path / f"out{suffix}"
    write_cell_labels(out, labelled, copy_of=source)
    found = ad.read_h5ad(out) if suffix == ".h5ad" else ad.read_zarr(out)
    assert (found.X != small_adata.X).nnz == 0
    assert found.obs["cell_type"].tolist() == small_adata.obs["cell_type"].tolist()
    check_columns(found.obs, labelled)
    np.testing.assert_array_equal(
        found.obsm["kind_probabilities"], labelled.labels["kind"].class_probabilities
    )
    said = found.uns["rankformer"]
    assert said["kind"]["model"] == said["age"]["model"] == "small"
    assert list(said["kind"]["classes"]) == ["B", "T"]
    assert said["kind"]["task"] == "classify"
    assert "classes" not in said["age"]


def test_in_memory_as_on_disk(small_adata, labelled):
    store_labels_in(small_adata, labelled)
    check_columns(small_adata.obs, labelled)
    assert small_adata.uns["rankformer"]["kind"]["task"] == "classify"


@pytest.mark.parametrize("suffix", [None, ".h5ad", ".zarr"])
def test_labels_of_another_way_leave_nothing_of_the_first(suffix, small_adata, tmp_path):
    """Neighbours and a classifier may use one key; what each says beside a label differs."""
    names, shares = np.array(["B"] * 30, dtype=object), np.ones((30, 1), np.float32)
    said = {"best": names, "distance": shares[:, 0], "why": names}
    voted = CellLabels(names, shares[:, 0], np.zeros(30, bool), further=said)
    predicted = CellLabels(names, shares[:, 0], np.zeros(30, bool), ("B",), shares)
    adata = small_adata
    for order in ((voted, predicted), (predicted, voted)):
        for i, labels in enumerate(order):
            cells = LabelledCells({"k": labels}, np.full(30, None, object), small_adata.obs, {})
            if suffix is None:
                store_labels_in(adata, cells)
                continue
            source, out = tmp_path / f"source{i}{suffix}", tmp_path / f"out{i}{suffix}"
            getattr(adata, f"write_{suffix[1:]}")(source)
            write_cell_labels(out, cells, copy_of=source, overwrite=True)
            adata = ad.read_h5ad(out) if suffix == ".h5ad" else ad.read_zarr(out)
            shutil.rmtree(source, ignore_errors=True)
        beside = {each for each in adata.obs.columns if each.startswith("k_")}
        is_voted = order[-1] is voted
        further = {"k_best", "k_distance", "k_why"} if is_voted else set()
        assert beside == {"k_probability", "k_uncertain", *further}
        assert ("k_probabilities" in adata.obsm) is not is_voted


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_have_a_row_a_cell(suffix, labelled, tmp_path):
    out = tmp_path / f"out{suffix}"
    write_cell_labels(out, labelled)
    if suffix == ".csv":
        table = pd.read_csv(out)
        said = json.loads((tmp_path / "out.csv.json").read_text())
    else:
        table = pd.read_parquet(out)
        said = json.loads(pq.read_schema(out).metadata[b"rankformer"])
    assert table.columns.tolist() == [
        "cell", "kind", "kind_best", "kind_probability", "kind_uncertain", "kind_missing",
        "kind_probability_B", "kind_probability_T", "age", "age_missing",
    ]  # fmt: skip
    assert table["cell"].tolist() == labelled.obs.index.tolist()
    check_columns(table, labelled)
    np.testing.assert_allclose(
        table["kind_probability_T"], labelled.labels["kind"].class_probabilities[:, 1], rtol=1e-6
    )
    assert said["kind"]["classes"] == ["B", "T"]


def test_marks_are_plain_where_every_cell_has_a_label(small_adata):
    values = np.array(["B"] * 30, dtype=object)
    labels = {"kind": CellLabels(values, np.ones(30, np.float32), np.zeros(30, bool))}
    cells = LabelledCells(labels, np.full(30, None, dtype=object), small_adata.obs, {})
    store_labels_in(small_adata, cells)
    assert small_adata.obs["kind_uncertain"].dtype == bool
    assert "kind_missing" not in small_adata.obs


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_of_several_sources_say_which(suffix, labelled, tmp_path):
    sources = np.array(["one"] * 20 + ["two"] * 10, dtype=object)
    out = tmp_path / f"out{suffix}"
    write_cell_labels(out, replace(labelled, sources=sources))
    table = pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)
    assert table["source"].tolist() == sources.tolist()


@pytest.mark.parametrize("suffix", [".h5ad", ".csv", ".parquet"])
def test_what_is_there_is_replaced_only_where_asked_for(suffix, labelled, tmp_path):
    out = tmp_path / f"out{suffix}"
    beside = tmp_path / "out.csv.json"
    for path in (out, beside):
        path.write_text("a year of work")
    with pytest.raises(OutputError):
        write_cell_labels(out, labelled)
    assert out.read_text() == beside.read_text() == "a year of work"
    write_cell_labels(out, labelled, overwrite=True)
    assert b"a year of work" not in out.read_bytes()
    assert (suffix == ".csv") == (beside.read_text() != "a year of work")


def test_parquet_is_compressed(labelled, tmp_path):
    write_cell_labels(tmp_path / "out.parquet", labelled)
    group = pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}
