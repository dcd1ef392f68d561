"""Memory does not grow with the cells: a matrix far larger than the allowance is read through."""

import tracemalloc

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from tests.cells.count_files import write_tenx_folder

from rankformer.cells import csc_rows, matrix_market
from rankformer.cells.source import open_cells

N_CELLS, N_VARS, N_STORED = 20_000, 2_000, 200
ALLOWANCE = 6 << 20


@pytest.fixture(scope="module")
def large() -> ad.AnnData:
    rng = np.random.default_rng(0)
    # One variable in each stride: sorted and unique without sorting.
    step = N_VARS // N_STORED
    indices = np.arange(0, N_VARS, step) + rng.integers(0, step, (N_CELLS, N_STORED))
    data = rng.integers(1, 9, indices.size).astype("float32")
    indptr = np.arange(0, indices.size + 1, N_STORED)
    counts = sp.csr_matrix((data, indices.ravel().astype("int32"), indptr))
    counts.resize(N_CELLS, N_VARS)
    adata = ad.AnnData(counts)
    adata.var["gene_symbols"] = adata.var_names
    return adata


def peak_of_reading(path) -> tuple[int, float]:
    """Most memory beyond what obs and var take, and the sum of all counts."""
    tracemalloc.start()
    try:
        with open_cells(path) as cells:
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            total = sum(float(chunk.counts.sum()) for chunk in cells.chunks(512))
            return tracemalloc.get_traced_memory()[1] - held, total
    finally:
        tracemalloc.stop()


def check(path, large) -> None:
    peak, total = peak_of_reading(path)
    assert total == large.X.sum(dtype=np.float64)
    assert peak < ALLOWANCE < (large.X.data.nbytes + large.X.indices.nbytes) / 4


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_csr(tmp_path, large, compression):
    large.write_h5ad(tmp_path / "a.h5ad", compression=compression)
    check(tmp_path / "a.h5ad", large)


def test_csr_backed(tmp_path, large):
    large.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    check(backed, large)
    backed.file.close()


def test_zarr(tmp_path, large):
    large.write_zarr(tmp_path / "a.zarr")
    check(tmp_path / "a.zarr", large)


def test_dense(tmp_path, large, monkeypatch):
    monkeypatch.setattr("rankformer.cells.row_matrices._DENSE_BLOCK_BYTES", 1 << 20)
    small = large[:6000].copy()
    small.X = small.X.toarray()
    small.write_h5ad(tmp_path / "a.h5ad")
    peak, total = peak_of_reading(tmp_path / "a.h5ad")
    assert total == small.X.sum(dtype=np.float64)
    assert peak < ALLOWANCE < small.X.nbytes / 6


def test_csc(tmp_path, large, monkeypatch):
    monkeypatch.setattr(csc_rows, "IN_MEMORY_BYTES", 1 << 20)
    monkeypatch.setattr(csc_rows, "BLOCK_VALUES", 50_000)
    columns = ad.AnnData(large.X.tocsc())
    columns.write_h5ad(tmp_path / "a.h5ad")
    check(tmp_path / "a.h5ad", large)


def test_matrix_market(tmp_path, large, monkeypatch):
    monkeypatch.setattr(csc_rows, "IN_MEMORY_BYTES", 1 << 20)
    monkeypatch.setattr(matrix_market, "BLOCK_BYTES", 256 << 10)
    small = large[:6000]
    folder = write_tenx_folder(tmp_path / "run", small, version=2)
    tracemalloc.start()
    with open_cells(folder) as cells:
        total = sum(float(chunk.counts.sum()) for chunk in cells.chunks(512))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == small.X.sum(dtype=np.float64)
    assert peak < ALLOWANCE < small.X.nnz * 12 / 2


def test_the_allowance_would_catch_a_reader_of_the_whole(tmp_path, large):
    large.write_h5ad(tmp_path / "a.h5ad")
    tracemalloc.start()
    ad.read_h5ad(tmp_path / "a.h5ad")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak > 4 * ALLOWANCE
