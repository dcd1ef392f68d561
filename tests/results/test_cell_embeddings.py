"""Vectors on disk: each format holds the same, with provenance, and replaces nothing unasked."""

import json
from dataclasses import replace
from functools import partial

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from tests.conftest import small_vocabulary

from rankformer.errors import OutputError
from rankformer.results import cell_embeddings, gene_embeddings
from rankformer.results.cell_embeddings import (
    CellEmbeddings,
    add_vectors,
    vectors_beside,
    write_cell_vectors,
)
from rankformer.results.gene_embeddings import (
    GeneSummary,
    GeneVectors,
    gene_tables,
    write_gene_summary,
)
from rankformer.results.gene_report import write_gene_report
from rankformer.results.parquet_tables import write_tables
from rankformer.scratch import blocks_of_rows
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import open_tokens

SUFFIXES = (".h5ad", ".zarr", ".npy", ".csv", ".parquet")
CSV_COLUMNS = [f"X_own_{i}" for i in range(1, 9)]
PROVENANCE = {"model": "small", "genes": {"mapped": 3}}


@pytest.fixture
def embeddings(small_adata):
    """30 cells, of which the third has no vector."""
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    vectors[2] = np.nan
    missing = np.full(30, None, dtype=object)
    missing[2] = "no counts in genes of the vocabulary"
    return CellEmbeddings(vectors, missing, small_adata.obs, PROVENANCE)


def read(path):
    """Vectors, provenance, names of cells where the format has them, why the third has none."""
    if path.suffix == ".npy":
        said = json.loads(path.with_name(path.name + ".json").read_text())
        return np.load(path), said, None, None
    if path.suffix == ".csv":
        said = json.loads(path.with_name(path.name + ".json").read_text())
        table = pd.read_csv(path, index_col="cell", dtype=dict.fromkeys(CSV_COLUMNS, np.float32))
        return table[CSV_COLUMNS].to_numpy(), said, table.index.tolist(), None
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        said = json.loads(table.schema.metadata[b"rankformer"])
        return np.stack(table["vector"].to_numpy()), said, table["cell"].to_pylist(), None
    adata = ad.read_h5ad(path) if path.suffix == ".h5ad" else ad.read_zarr(path)
    said = adata.uns["rankformer"]["X_own"]
    return adata.obsm["X_own"], said, list(adata.obs_names), adata.obs["X_own_missing"].iloc[2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_format_holds_the_same(suffix, embeddings, tmp_path):
    path = tmp_path / f"out{suffix}"
    write_cell_vectors(path, embeddings, key="X_own")
    vectors, said, names, reason = read(path)
    np.testing.assert_array_equal(vectors, embeddings.vectors)
    assert vectors.dtype == np.float32
    assert said == PROVENANCE
    assert names in (None, embeddings.obs.index.tolist())
    assert reason in (None, "no counts in genes of the vocabulary")


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_a_copy_of_the_input_has_all_that_was_there(suffix, small_adata, embeddings, tmp_path):
    source, out = tmp_path / f"cells{suffix}", tmp_path / f"out{suffix}"
    getattr(small_adata, f"write_{suffix[1:]}")(source)
    write_cell_vectors(out, embeddings, copy_of=source)
    adata = getattr(ad, f"read_{suffix[1:]}")(out)
    np.testing.assert_array_equal(adata.obsm["X_geneformer"], embeddings.vectors)
    assert (adata.X != small_adata.X).nnz == 0
    assert adata.obs["cell_type"].tolist() == small_adata.obs["cell_type"].tolist()


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("name", "of_var"), [("batch", "symbol"), ("Cell_Type", "symbol"), ("batch", "Name")]
)
def test_a_copy_of_a_zarr_is_one_that_anndata_reads(
    zarr_format, name, of_var, small_adata, embeddings, tmp_path
):
    """Also where columns differ in case alone, of which anndata cannot read its own stores."""
    small_adata.obs[name] = pd.Categorical(np.where(np.arange(small_adata.n_obs) % 3, "x", "y"))
    small_adata.var["name"] = small_adata.var[of_var] = pd.Categorical(["a"] * small_adata.n_vars)
    with ad.settings.override(zarr_write_format=zarr_format):
        small_adata.write_zarr(tmp_path / "cells.zarr")
    write_cell_vectors(tmp_path / "out.zarr", embeddings, copy_of=tmp_path / "cells.zarr")
    adata = ad.read_zarr(tmp_path / "out.zarr")
    np.testing.assert_array_equal(adata.obsm["X_geneformer"], embeddings.vectors)
    for each in ("cell_type", name):
        assert adata.obs[each].tolist() == small_adata.obs[each].tolist()
    assert adata.var[of_var].tolist() == small_adata.var[of_var].tolist()
    gathered = zarr.open_group(tmp_path / "out.zarr", mode="r").metadata.consolidated_metadata
    differ = (name, of_var) == ("batch", "symbol")
    assert (gathered is not None) is differ
    assert gathered is None or "obsm/X_geneformer" in gathered.flattened_metadata


def test_reasons_of_an_earlier_run_go_where_all_cells_have_a_vector(
    small_adata, embeddings, tmp_path
):
    small_adata.obs["X_geneformer_missing"] = "of an earlier run"
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    whole = replace(embeddings, missing=np.full(30, None, dtype=object))
    write_cell_vectors(tmp_path / "out.h5ad", whole, copy_of=tmp_path / "cells.h5ad")
    assert ad.read_h5ad(tmp_path / "out.h5ad").obs.columns.tolist() == ["cell_type"]


def test_without_an_input_there_is_obs_alone(embeddings, tmp_path):
    write_cell_vectors(tmp_path / "out.h5ad", embeddings)
    adata = ad.read_h5ad(tmp_path / "out.h5ad")
    assert adata.obs["cell_type"].tolist() == embeddings.obs["cell_type"].tolist()
    assert adata.shape == (30, 0)


@pytest.mark.parametrize("suffix", [".h5ad", ".npy", ".parquet"])
def test_what_is_there_is_replaced_only_where_asked_for(suffix, embeddings, tmp_path):
    out, beside = tmp_path / f"out{suffix}", tmp_path / "out.npy.json"
    for path in (out, beside):
        path.write_text("a year of work")
    with pytest.raises(OutputError):
        write_cell_vectors(out, embeddings)
    assert out.read_text() == beside.read_text() == "a year of work"
    write_cell_vectors(out, embeddings, key="X_own", overwrite=True)
    np.testing.assert_array_equal(read(out)[0], embeddings.vectors)
    assert (suffix == ".npy") == (beside.read_text() != "a year of work")


def test_rows_of_several_sources_are_written_in_blocks(embeddings, tmp_path, monkeypatch):
    """As of more cells than one block holds; names of cells may hold what CSV quotes."""
    sources = np.array(["one"] * 20 + ["two"] * 10, dtype=object)
    obs = embeddings.obs.set_index(pd.Index([f'cell "é", {i}' for i in range(30)]))
    in_blocks = partial(blocks_of_rows, n_rows=7)
    monkeypatch.setattr(cell_embeddings, "blocks_of_rows", in_blocks)
    write_cell_vectors(tmp_path / "out.csv", replace(embeddings, obs=obs, sources=sources),
                       key="X_own")  # fmt: skip
    vectors, _, names, _ = read(tmp_path / "out.csv")
    np.testing.assert_array_equal(vectors, embeddings.vectors)
    assert names == obs.index.tolist()
    assert pd.read_csv(tmp_path / "out.csv")["source"].tolist() == sources.tolist()
    assert b"\r" not in (tmp_path / "out.csv").read_bytes()


def test_cells_of_several_sources_say_which(embeddings, tmp_path):
    sources = np.array(["one"] * 20 + ["two"] * 10, dtype=object)
    write_cell_vectors(tmp_path / "out.parquet", replace(embeddings, sources=sources))
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table.columns.tolist() == ["cell", "source", "vector"]
    assert table["source"].tolist() == sources.tolist()


def test_what_is_added_to_an_anndata(embeddings):
    added = add_vectors(embeddings, "X_own")
    assert added.provenance == {"X_own": PROVENANCE}
    assert list(added.obsm) == ["X_own"]
    assert list(added.obs) == ["X_own_missing"]
    whole = replace(embeddings, missing=np.full(30, None, dtype=object))
    assert add_vectors(whole, "X_own").obs == {"X_own_missing": None}


def test_vectors_on_their_way_leave_nothing(tmp_path):
    with vectors_beside(tmp_path / "out.npy", (5, 3)) as vectors:
        vectors[:] = 1
        assert vectors.shape == (5, 3)
        assert vectors.dtype == np.float32
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def blocks_of(lengths, vocabulary, d_model):
    """Blocks of cells with so many genes each, as the embedder hands them out."""
    rng = np.random.default_rng(1)
    first = 0
    for own in lengths:
        offsets = np.cumsum([0, *own])
        tokens = rng.choice(vocabulary.tokens, offsets[-1]).astype(np.int32)
        vectors = rng.normal(size=(offsets[-1], d_model)).astype(np.float32)
        yield np.arange(first, first + len(own)), GeneVectors(first, offsets, tokens, vectors)
        first += len(own)


@pytest.mark.parametrize("rows_at_once", [1, 3, 4, 1000])
def test_genes_of_cells_have_a_row_each_in_rank_order(monkeypatch, tmp_path, rows_at_once):
    vocabulary, d_model = small_vocabulary(), 8
    lengths = [[3, 0, 2], [0], [4], [1, 2]]
    monkeypatch.setattr(gene_embeddings, "_ROW_GROUP_BYTES", rows_at_once * 4 * d_model)
    names = np.array([f"cell{i}" for i in range(7)], dtype=object)
    path = tmp_path / "genes.parquet"
    blocks = blocks_of(lengths, vocabulary, d_model)
    write_tables(path, gene_tables(blocks, {"cell": names}, vocabulary, d_model), PROVENANCE)
    expected = [
        (
            names[cell],
            vocabulary.ensembl_id_of[block.tokens[row]],
            1 + row - first,
            block.vectors[row],
        )
        for cells, block in blocks_of(lengths, vocabulary, d_model)
        for cell, first, stop in zip(cells, block.offsets[:-1], block.offsets[1:], strict=True)
        for row in range(first, stop)
    ]
    file = pq.ParquetFile(path)
    table = file.read()
    assert table.column_names == ["cell", "ensembl_id", "rank", "vector"]
    for i, name in enumerate(table.column_names[:3]):
        assert table[name].to_pylist() == [row[i] for row in expected]
    np.testing.assert_array_equal(
        np.stack(table["vector"].to_numpy()), [row[3] for row in expected]
    )
    assert json.loads(table.schema.metadata[b"rankformer"]) == PROVENANCE
    assert file.num_row_groups == -(-12 // rows_at_once)
    group = file.metadata.row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}
    assert table.schema.field("vector").type == pa.list_(pa.float32(), d_model)
    assert not group.column(3).has_dictionary_page
    # Statistics of names help to find cells; those of vectors would only take room.
    assert [group.column(i).is_stats_set for i in range(group.num_columns)] == [True] * 3 + [False]


@pytest.mark.parametrize("write", ["vectors", "summary"])
def test_tables_of_genes_replace_only_where_asked_for(write, tmp_path):
    vocabulary, path = small_vocabulary(), tmp_path / "genes.parquet"
    summary = GeneSummary(
        vocabulary.ensembl_id_of[[7, 9]], np.array([3, 1]), np.eye(2, 8, dtype=np.float32)
    )

    def save(**options):
        if write == "summary":
            return write_gene_summary(path, summary, vocabulary, PROVENANCE, **options)
        blocks = blocks_of([[2]], vocabulary, 8)
        cells = {"cell": np.array(["a"], dtype=object)}
        return write_tables(path, gene_tables(blocks, cells, vocabulary, 8), PROVENANCE, **options)

    path.write_text("a year of work")
    with pytest.raises(OutputError):
        save()
    assert path.read_text() == "a year of work"
    save(overwrite=True)
    assert len(pq.read_table(path)) == 2


def test_a_summary_has_a_row_a_gene(tmp_path):
    vocabulary = small_vocabulary()
    ids = np.array([*vocabulary.ensembl_ids[3:5], "ENSG00000999999"], dtype=object)
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    path = tmp_path / "genes.parquet"
    write_gene_summary(path, GeneSummary(ids, np.array([5, 1, 2]), vectors), vocabulary, PROVENANCE)
    table = pq.read_table(path)
    assert table.column_names == ["ensembl_id", "symbol", "n_cells", "vector"]
    assert table["ensembl_id"].to_pylist() == ids.tolist()
    assert table["symbol"].to_pylist() == ["G4", "G5", None]
    assert table["n_cells"].to_pylist() == [5, 1, 2]
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), vectors)
    assert json.loads(table.schema.metadata[b"rankformer"]) == PROVENANCE


def test_a_summary_of_genes_without_symbols(tmp_path):
    path, ids = tmp_path / "genes.parquet", np.array(["ENSG00000999999"], dtype=object)
    summary = GeneSummary(ids, np.array([1]), np.ones((1, 8), np.float32))
    write_gene_summary(path, summary, small_vocabulary(), PROVENANCE)
    assert pq.read_table(path).schema.field("symbol").type == pa.string()


@pytest.mark.parametrize("n_sources", [1, 2])
def test_the_gene_report_says_what_became_of_each_variable(
    n_sources, small_adata, vocabulary, tmp_path
):
    paths = [tmp_path / f"cells{i}.h5ad" for i in range(n_sources)]
    for path in paths:
        small_adata.write_h5ad(path)
    streams = [open_tokens(path, vocabulary, ReadingOptions()) for path in paths]
    out = tmp_path / "genes.csv"
    write_gene_report(out, streams)
    table = pd.read_csv(out)
    report = streams[0].mapping.report()
    own = [] if n_sources == 1 else ["source"]
    assert table.columns.tolist() == [*own, *report.columns]
    assert len(table) == n_sources * small_adata.n_vars
    assert table.iloc[:, len(own)].tolist() == report.iloc[:, 0].tolist() * n_sources
    if own:
        assert (
            table["source"].tolist()
            == np.repeat([each.name for each in streams], small_adata.n_vars).tolist()
        )
    with pytest.raises(OutputError):
        write_gene_report(out, streams)
    write_gene_report(out, streams, overwrite=True)
    with pytest.raises(OutputError, match="no input holds genes"):
        write_gene_report(tmp_path / "none.csv", [])
