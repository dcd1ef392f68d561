"""Every kind of source gives the same cells, in chunks of any size, and none is changed by it."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cells.count_files import (
    as_layout,
    make_adata,
    make_counts,
    write_tenx_folder,
    write_tenx_h5,
)
from tests.conftest import shared_path

from rankformer.cells import csc_rows, matrix_market
from rankformer.cells.source import CountKind, open_cells, survey_matrices
from rankformer.errors import CountsError, SettingsError

LAYOUTS = ("csr", "csc", "dense")
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "float32", "float64")


def read_all(source, n_rows=17, **options) -> sp.csr_matrix:
    with open_cells(source, **options) as cells:
        chunks = list(cells.chunks(n_rows))
    assert [chunk.start for chunk in chunks[1:]] == [chunk.stop for chunk in chunks[:-1]]
    return sp.vstack([chunk.counts for chunk in chunks], format="csr")


def assert_same(found, expected) -> None:
    expected = sp.csr_matrix(expected)
    assert found.shape == expected.shape
    assert (found != expected).nnz == 0


def in_layout(layout):
    adata = make_adata()
    adata.X = as_layout(adata.X, layout)
    return adata


@pytest.mark.parametrize("layout", [*LAYOUTS, "csr_array", "csc_array"])
def test_anndata_in_memory(layout):
    adata = in_layout(layout)
    with open_cells(adata) as cells:
        assert (cells.n_cells, cells.n_vars, cells.location) == (60, 40, "X")
        assert cells.kind is CountKind.COUNTS
        pd.testing.assert_frame_equal(cells.obs, adata.obs)
        pd.testing.assert_frame_equal(cells.var, adata.var)
    assert_same(read_all(adata), make_counts())


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_h5ad_and_backed(tmp_path, layout, compression):
    file = tmp_path / "cells.h5ad"
    in_layout(layout).write_h5ad(file, compression=compression)
    assert_same(read_all(file), make_counts())
    assert_same(read_all(str(file)), make_counts())
    backed = ad.read_h5ad(file, backed="r")
    assert_same(read_all(backed), make_counts())
    assert_same(read_all(backed[5:41]), make_counts()[5:41])
    rows, columns = np.array([50, 3, 3, 20]), np.array([30, 2, 7])
    assert_same(read_all(backed[rows, columns], n_rows=3), make_counts()[rows][:, columns])
    backed.file.close()


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_zarr(tmp_path, layout, zarr_format):
    with ad.settings.override(zarr_write_format=zarr_format):
        in_layout(layout).write_zarr(tmp_path / "cells.zarr")
    assert_same(read_all(tmp_path / "cells.zarr"), make_counts())


@pytest.mark.parametrize("version", [2, 3])
def test_cell_ranger_h5(tmp_path, version):
    file = write_tenx_h5(tmp_path / "filtered_feature_bc_matrix.h5", make_adata(), version=version)
    reference = sc.read_10x_h5(file)
    assert_same(read_all(file), reference.X)
    with open_cells(file) as cells:
        assert list(cells.obs.index) == list(reference.obs_names)
        assert list(cells.var.index) == list(reference.var["gene_ids"])
        assert list(cells.var["gene_symbols"]) == list(reference.var_names)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("version", [2, 3])
def test_cell_ranger_folder(tmp_path, monkeypatch, version, shuffle, in_memory):
    folder = write_tenx_folder(tmp_path / "run", make_adata(), version=version, shuffle=shuffle)
    if not in_memory:
        monkeypatch.setattr(csc_rows, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(matrix_market, "BLOCK_BYTES", 300)
    reference = sc.read_10x_mtx(folder, var_names="gene_ids")
    assert_same(read_all(folder), reference.X)
    with open_cells(folder) as cells:
        assert list(cells.obs.index) == list(reference.obs_names)
        assert list(cells.var.index) == list(reference.var_names)
        assert list(cells.var["gene_symbols"]) == list(reference.var["gene_symbols"])


def test_geo_prefix_and_matrix_named(tmp_path):
    write_tenx_folder(tmp_path / "geo", make_adata(), prefix="GSM1_a_")
    assert_same(read_all(tmp_path / "geo"), make_counts())
    assert_same(read_all(tmp_path / "geo" / "GSM1_a_matrix.mtx.gz"), make_counts())


@pytest.mark.parametrize("write", [write_tenx_h5, write_tenx_folder])
def test_only_genes_of_multimodal_runs(tmp_path, write):
    kinds = ["Gene Expression", "Antibody Capture"] * 20
    source = write(tmp_path / "run", make_adata(), feature_types=kinds)
    assert_same(read_all(source), make_counts()[:, ::2])
    with open_cells(source) as cells:
        assert cells.n_vars == len(cells.var) == 20
        assert "20 features of 'Antibody Capture'" in cells.note


def test_multimodal_agrees_with_scanpy(tmp_path):
    kinds = ["Gene Expression", "Antibody Capture"] * 20
    file = write_tenx_h5(tmp_path / "run.h5", make_adata(), feature_types=kinds)
    assert_same(read_all(file), sc.read_10x_h5(file, gex_only=True).X)


@pytest.mark.parametrize("dtype", [*DTYPES, *FLOATS])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_dtype(layout, dtype):
    counts = make_counts()
    stored = (
        counts.toarray().astype(dtype)
        if layout == "dense"
        else as_layout(counts, layout).astype("float32" if dtype == "float16" else dtype)
    )
    adata = make_adata(counts)
    adata.X = stored
    found = read_all(adata)
    assert_same(found, counts)
    if dtype != "float16":
        assert found.dtype == dtype


def test_dense_bool_and_big_endian(tmp_path):
    counts = make_counts()
    assert_same(read_all(ad.AnnData((counts > 0).toarray()), check=False), counts > 0)
    file = tmp_path / "big.h5ad"
    make_adata().write_h5ad(file)
    with h5py.File(file, "a") as group:
        values = group["X/data"][:]
        del group["X/data"]
        group["X/data"] = values.astype(">f4")
    found = read_all(file)
    assert found.dtype.isnative
    assert_same(found, counts)


@given(st.integers(1, 70), st.sampled_from(["csr", "csc", "dense"]), st.data())
@settings(deadline=None, max_examples=40)
def test_any_chunk_size_of_any_shape(n_rows, layout, data):
    n_cells, n_vars = data.draw(st.integers(1, 65)), data.draw(st.integers(1, 9))
    counts = sp.csr_matrix(
        np.random.default_rng(n_cells).poisson(1.0, (n_cells, n_vars)).astype("float32")
    )
    counts[0, 0] = 3
    adata = make_adata(counts)
    adata.X = as_layout(counts, layout)
    start = data.draw(st.integers(0, n_cells))
    with open_cells(adata) as cells:
        chunks = list(cells.chunks(n_rows, start=start))
        assert all(chunk.counts.shape[0] == chunk.stop - chunk.start <= n_rows for chunk in chunks)
        names = [name for chunk in chunks for name in chunk.obs_names]
    assert names == list(adata.obs_names[start:])
    if chunks:
        assert_same(sp.vstack([chunk.counts for chunk in chunks]), counts[start:])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_zeros_and_any_order_on_disk(tmp_path, dtype):
    """Explicit zeros go, variables ascend."""
    file = tmp_path / "cells.h5ad"
    ad.AnnData(sp.csr_matrix(np.array([[0, 1, 1, 1], [1, 0, 0, 1]], dtype))).write_h5ad(file)
    with h5py.File(file, "a") as group:
        group["X/data"][:] = np.array([200, 100, 0, 7, 5], dtype)
        group["X/indices"][:] = [2, 0, 1, 3, 0]
    found = read_all(file, n_rows=2)
    np.testing.assert_array_equal(found.data, [100, 200, 5, 7])
    np.testing.assert_array_equal(found.indices, [0, 2, 0, 3])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("layout", [sp.csr_matrix, sp.csc_matrix])
def test_values_of_one_variable_are_summed_in_memory(layout, dtype):
    """Also beyond the type; as scipy itself sees them."""
    rows, columns = np.array([0, 0, 0, 1, 1]), np.array([2, 2, 1, 3, 0])
    values = np.array([200, 100, 2, 7, 5], dtype)
    inner, outer = (columns, rows) if layout is sp.csr_matrix else (rows, columns)
    order = np.argsort(outer, kind="stable")
    starts = np.searchsorted(outer[order], np.arange(outer.max() + 2))
    x = layout((values[order], inner[order], starts), shape=(2, 4))
    found = read_all(ad.AnnData(x), n_rows=2)
    assert found.toarray().tolist() == [[0, 2, 300, 0], [5, 0, 0, 7]]


@pytest.mark.parametrize("kept", [slice(0, 60), slice(0, 15)], ids=["empty cells", "none empty"])
def test_the_users_matrix_is_left_alone(kept):
    adata = make_adata(make_counts(density=0.6)[kept])
    adata.X.data[:5] = 0
    adata.X.indices[:2] = adata.X.indices[:2][::-1].copy()
    before = [each.copy() for each in (adata.X.data, adata.X.indices, adata.X.indptr)]
    assert (np.diff(before[2]) == 0).any() == (kept.stop == 60)
    read_all(adata)
    read_all(adata, check=False)
    survey_matrices(adata)
    for old, new in zip(before, (adata.X.data, adata.X.indices, adata.X.indptr), strict=True):
        np.testing.assert_array_equal(old, new)


def test_views_are_read_without_copying_the_whole():
    adata = make_adata()
    adata.raw = adata.copy()
    adata.layers["counts"] = adata.X.copy()
    rows, columns = np.array([40, 2, 59, 2]), ["ENSG00000000007", "ENSG00000000003"]
    view = adata[rows, columns]
    expected = make_counts()[rows]
    assert view.is_view
    assert_same(read_all(view, n_rows=3), expected[:, [7, 3]])
    assert_same(read_all(view, layer="counts"), expected[:, [7, 3]])
    assert_same(read_all(view, use_raw=True), expected)
    with open_cells(view[1:3]) as cells:
        assert list(cells.obs.index) == list(adata.obs_names[[2, 59]])
    assert view.is_view, "reading made a copy of the view"


def test_columns_on_disk_turned_in_temporary_files(tmp_path, monkeypatch):
    file = tmp_path / "csc.h5ad"
    in_layout("csc").write_h5ad(file)
    expected = read_all(file)
    monkeypatch.setattr(csc_rows, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(csc_rows, "BLOCK_VALUES", 37)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with open_cells(file) as cells:
        first = sp.vstack([chunk.counts for chunk in cells.chunks(7)])
        again = sp.vstack([chunk.counts for chunk in cells.chunks(60)])
        assert list(scratch.iterdir())
    assert not list(scratch.iterdir())
    for found in (first, again):
        assert_same(found, expected)
    # The look at a sample reads by columns; it must see the cells that the chunks show.
    with open_cells(file) as cells:
        picked = cells._matrix.sample(np.array([41, 3, 3, 58]))
        assert_same(picked, expected[[41, 3, 3, 58]])


def test_too_small_a_disk_for_temporary_files(tmp_path, monkeypatch):
    file = tmp_path / "csc.h5ad"
    in_layout("csc").write_h5ad(file)
    monkeypatch.setattr(csc_rows, "IN_MEMORY_BYTES", 100)
    usage = type("usage", (), {"free": 10})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with open_cells(file) as cells, pytest.raises(CountsError, match="TMPDIR"):
        next(cells.chunks())


def test_empty_cells_are_kept_and_counted():
    with open_cells(make_adata()) as cells:
        chunks = list(cells.chunks(30))
    counts = make_counts()
    assert [chunk.n_empty for chunk in chunks] == [
        int((counts[part].getnnz(axis=1) == 0).sum()) for part in (slice(0, 30), slice(30, 60))
    ]
    assert sum(chunk.n_empty for chunk in chunks) >= 1


def test_unfiltered_barcodes_mostly_empty(tmp_path):
    """Raw 10x matrices: a handful of cells among many thousand empty barcodes."""
    counts = sp.lil_matrix((20_000, 40), dtype="float32")
    counts[13_337] = make_counts()[0]
    for layout in LAYOUTS:
        adata = ad.AnnData(as_layout(counts.tocsr(), layout))
        with open_cells(adata) as cells:
            assert cells.kind is CountKind.COUNTS
            assert sum(chunk.n_empty for chunk in cells.chunks()) == 19_999


def test_repeated_cell_names_are_allowed_and_said():
    adata = make_adata()
    adata.obs_names = ["CELL"] * 59 + ["OTHER"]
    with open_cells(adata) as cells:
        assert "58 cell names occur more than once" in cells.note


def test_reading_after_close_and_bad_chunk_size(tmp_path):
    file = tmp_path / "cells.h5ad"
    make_adata().write_h5ad(file)
    with open_cells(file) as cells, pytest.raises(SettingsError, match="n_rows"):
        next(cells.chunks(0))
    with pytest.raises(CountsError, match="was closed"):
        next(cells.chunks())


def test_dask_layers():
    da = pytest.importorskip("dask.array")
    adata = make_adata()
    adata.X = da.from_array(make_counts().toarray(), chunks=(13, 40))
    assert_same(read_all(adata), make_counts())


@pytest.mark.parametrize("name", ["pbmc3k", "sc_mixology"])
def test_real_cells(name):
    file = shared_path("cells", f"{name}.h5ad")
    assert_same(read_all(file, n_rows=333), ad.read_h5ad(file).X)


def test_files_of_an_old_form_are_read():
    """scanpy ships one, written before anndata 0.7."""
    from pathlib import Path

    import scanpy

    path = Path(scanpy.__file__).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
    with open_cells(path, undo_log1p=True) as cells:
        (chunk,) = cells.chunks(700)
    adata = scanpy.datasets.pbmc68k_reduced()
    assert cells.location == "raw.X"
    assert "old form" in cells.note
    assert cells.path is None
    np.testing.assert_allclose(chunk.counts.toarray(), np.expm1(adata.raw.X.toarray()), rtol=1e-6)
