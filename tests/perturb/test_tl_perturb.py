"""``rankformer.tl.perturb`` and ``perturb_test``: tables in ``uns``, which AnnData can store."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import rankformer
from rankformer.errors import SettingsError
from rankformer.perturb.exact import dtype_of_read_out


def test_the_table_of_the_command(small_adata, checkpoint_folder, tmp_path, command):
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    words = ("--type", "overexpress", "--state", "cell_type", "--start", "T", "--goal", "B",
             "--attribute", "cell_type", "--dtype", "float32")  # fmt: skip
    status, _, said = command(
        "perturb", tmp_path / "cells.h5ad", "-o", tmp_path / "out.parquet",
        "-m", checkpoint_folder, *words,
    )  # fmt: skip
    assert status == 0, said
    expected = pd.read_parquet(tmp_path / "out.parquet")
    rankformer.tl.perturb(
        small_adata, model=checkpoint_folder, kind="overexpress", state="cell_type", start="T",
        goal="B", attributes="cell_type", device="cpu", dtype="float32",
    )  # fmt: skip
    found = small_adata.uns["perturbation"]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_categorical=False)
    described = small_adata.uns["rankformer"]["perturbation"]
    assert described["perturbation"]["kind"] == "overexpress"


def test_results_survive_the_file(small_adata, checkpoint_folder, tmp_path):
    copy = rankformer.tl.perturb(
        small_adata, model=checkpoint_folder, genes=["G3", "G190"], kind="overexpress",
        read_out="gene", n_affected=3, device="cpu", dtype="float32", copy=True,
        key_added="up",
    )  # fmt: skip
    assert "up" not in small_adata.uns
    rankformer.tl.perturb_test(copy, key="up", against="aggregate")
    copy.write_h5ad(tmp_path / "copy.h5ad")
    read = ad.read_h5ad(tmp_path / "copy.h5ad")
    for key in ("up", "up_affected", "up_test"):
        pd.testing.assert_frame_equal(
            read.uns[key], copy.uns[key], check_dtype=False, check_categorical=False,
            check_index_type=False, check_names=False,
        )  # fmt: skip
    assert len(read.uns["up_test"]) == 2


def test_a_screen_says_how_far_to_trust_it(small_adata, checkpoint_folder):
    rankformer.tl.perturb(
        small_adata, model=checkpoint_folder, method="screen", n_exact=3, n_directions=2,
        top=4, exact_cells=5, device="cpu", dtype="float32",
    )  # fmt: skip
    table = small_adata.uns["perturbation"]
    best = table[table["method"] == "exact"]
    # Of the best four, those that these cells express.
    assert 1 <= best["symbol"].nunique() <= 4
    assert 1 <= best["cell"].nunique() <= 5
    assert -1 <= small_adata.uns["rankformer"]["perturbation"]["trust"]["movement"] <= 1


def test_a_screen_is_kept_where_no_cell_has_the_best_gene(small_adata, checkpoint_folder, caplog):
    n_exact = []
    for seed in range(8):
        rankformer.tl.perturb(
            small_adata, model=checkpoint_folder, method="screen", n_exact=2, n_directions=1,
            top=1, exact_cells=1, seed=seed, device="cpu", dtype="float32",
        )  # fmt: skip
        methods = small_adata.uns["perturbation"]["method"].value_counts()
        assert methods["screen"] > 1000
        n_exact.append(methods.get("exact", 0))
    assert 0 in n_exact
    assert set(n_exact) <= {0, 1}
    assert "None of the 1 cells expresses one of the best genes" in caplog.text


def test_a_table_is_needed(small_adata):
    with pytest.raises(SettingsError, match=r"uns has no table 'perturbation'"):
        rankformer.tl.perturb_test(small_adata)


def test_states_may_be_numbers(small_adata, checkpoint_folder):
    small_adata.obs["cluster"] = np.arange(30) % 2
    rankformer.tl.perturb(
        small_adata, model=checkpoint_folder, genes=["G5"], state="cluster", start=0, goal=1
    )
    assert "shift_to_1" in small_adata.uns["perturbation"]


def test_what_was_done_is_not_written_over(small_adata, checkpoint_folder):
    with pytest.raises(SettingsError, match="what was done"):
        rankformer.tl.perturb(small_adata, model=checkpoint_folder, key_added="rankformer")


@pytest.mark.parametrize(("read_out", "dtype"), [("cls", "float32"), ("cell", "auto")])
def test_of_one_vector_a_cell_no_rounding_is_taken(read_out, dtype):
    assert dtype_of_read_out(read_out, "auto") == dtype
    assert dtype_of_read_out(read_out, "bfloat16") == "bfloat16"
