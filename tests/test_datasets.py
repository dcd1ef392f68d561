"""The example cells: scanpy's, with counts that give its log-normalised values again."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import rankformer
from rankformer.errors import OutputError


@pytest.fixture(scope="module")
def cells():
    return rankformer.datasets.blood_cells()


@pytest.fixture(scope="module")
def of_scanpy():
    return sc.datasets.pbmc68k_reduced()


def test_counts_give_the_values_of_scanpy(cells, of_scanpy):
    """Normalised as scanpy's docs say, to its three decimals; its totals are of all genes."""
    counts = cells.X.toarray().astype(float)
    assert np.array_equal(counts, counts.round())
    assert counts.min() == 0
    shares = counts / of_scanpy.obs["n_counts"].to_numpy()[:, None]
    np.testing.assert_allclose(np.log1p(10_000 * shares), of_scanpy.raw.X.toarray(), atol=6e-4)


def test_cells_genes_and_types_are_those_of_scanpy(cells, of_scanpy):
    assert list(cells.obs_names) == list(of_scanpy.obs_names)
    assert list(cells.var_names) == list(of_scanpy.raw.var_names)
    assert list(cells.obs["cell_type"]) == list(of_scanpy.obs["bulk_labels"])
    # Genes found among those that are left are no more than those found among all.
    assert (np.diff(cells.X.indptr) <= cells.obs["n_genes"]).all()
    assert (cells.obs["n_counts"] >= cells.X.sum(axis=1).A1).all()


def test_tokens_are_those_of_scanpys_values(cells, of_scanpy):
    """Up to the order of genes whose values were equal before they were rounded."""
    options = rankformer.ReadingOptions(use_raw=True, undo_log1p=True)
    expected = rankformer.tokenize_cells(of_scanpy, "rankformer-mini", options=options)
    found = rankformer.tokenize_cells(cells, "rankformer-mini")
    for i in range(cells.n_obs):
        assert sorted(found.cell(i)) == sorted(expected.cell(i))


def test_the_command_writes_what_python_gives(cells, tmp_path):
    command = [sys.executable, "-m", "rankformer", "example", "-o", "blood.h5ad"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "700 blood cells" in done.stderr
    written = ad.read_h5ad(tmp_path / "blood.h5ad")
    assert (written.X != cells.X).nnz == 0
    assert written.obs.equals(cells.obs)
    assert [each.name for each in tmp_path.iterdir()] == ["blood.h5ad"]


def test_what_exists_is_kept(tmp_path):
    target = tmp_path / "blood.h5ad"
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        rankformer.datasets.write_blood_cells(target)
    assert target.read_text() == "mine"
    rankformer.datasets.write_blood_cells(target, overwrite=True)
    assert ad.read_h5ad(target).n_obs == 700
    with pytest.raises(OutputError, match=r"\.h5ad"):
        rankformer.datasets.write_blood_cells(tmp_path / "blood.csv")
