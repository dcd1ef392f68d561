"""scanpy's manner: results in obsm, obs and uns, fit for scanpy's next step."""

import subprocess
import sys

import numpy as np
import pytest
import scanpy as sc

import rankformer
from rankformer.errors import SettingsError
from tests.conftest import save_small_checkpoint, small_vocabulary


def test_embed_then_neighbors(checkpoint_folder, small_adata):
    assert rankformer.tl.embed(small_adata, model=checkpoint_folder) is None
    assert small_adata.obsm["X_geneformer"].shape == (30, 32)
    sc.pp.neighbors(small_adata, use_rep="X_geneformer", n_neighbors=5)
    assert small_adata.obsp["connectivities"].shape == (30, 30)


def test_provenance_says_where_it_came_from_and_survives_a_file(
    checkpoint_folder, small_adata, tmp_path
):
    rankformer.tl.embed(small_adata, model=checkpoint_folder, emb_layer=-2, key_added="X_gf")
    small_adata.write_h5ad(tmp_path / "a.h5ad")
    found = sc.read_h5ad(tmp_path / "a.h5ad").uns["rankformer"]["X_gf"]
    checkpoint = rankformer.Checkpoint.open(checkpoint_folder)
    assert found["weights_sha256"] == checkpoint.weights_sha256
    assert found["vocabulary_sha256"] == checkpoint.vocabulary.sha256
    assert found["layer"] == 2
    assert found["mode"] == "cell"
    assert found["sources"]["0"]["counts"] == "X"
    assert found["sources"]["0"]["genes"]["n_mapped"] == 150


def test_cells_without_an_embedding_are_nan_with_a_reason(checkpoint_folder, small_adata, caplog):
    counts = small_adata.X.toarray()
    counts[3] = 0
    counts[5, :150] = 0
    counts[5, 160] = 4
    small_adata.X = counts
    small_adata.obs["filter_pass"] = 1
    small_adata.obs.loc["cell7", "filter_pass"] = 0
    rankformer.tl.embed(small_adata, model=checkpoint_folder)
    missing = small_adata.obs["X_geneformer_missing"].dropna()
    assert missing.index.tolist() == ["cell3", "cell5", "cell7"]
    assert missing["cell7"] == "filter_pass is 0"
    assert missing["cell3"] == missing["cell5"] == "no counts in genes of the vocabulary"
    nan = np.isnan(small_adata.obsm["X_geneformer"]).all(axis=1)
    assert np.flatnonzero(nan).tolist() == [3, 5, 7]
    assert "2 of 30 cells have no embedding: no counts in genes" in caplog.text
    assert "1 of 30 cells have no embedding: filter_pass is 0" in caplog.text
    del small_adata.obs["filter_pass"]
    rankformer.tl.embed(small_adata[:3].copy(), model=checkpoint_folder)


def test_copy_leaves_the_original_alone(checkpoint_folder, small_adata):
    copied = rankformer.tl.embed(small_adata, model=checkpoint_folder, copy=True)
    assert "X_geneformer" in copied.obsm
    assert "X_geneformer" not in small_adata.obsm
    assert "rankformer" not in small_adata.uns


def test_reading_options_reach_the_reader(checkpoint_folder, small_adata):
    small_adata.layers["counts"] = small_adata.X.copy()
    expected = rankformer.tl.embed(small_adata, model=checkpoint_folder, copy=True)
    small_adata.X = small_adata.X.log1p()
    found = rankformer.tl.embed(small_adata, model=checkpoint_folder, layer="counts", copy=True)
    np.testing.assert_array_equal(found.obsm["X_geneformer"], expected.obsm["X_geneformer"])
    with pytest.raises(TypeError, match="no_such_option"):
        rankformer.tl.embed(small_adata, model=checkpoint_folder, no_such_option=1)


def test_a_ready_embedder_is_taken_as_it_is(checkpoint_folder, small_adata):
    embedder = rankformer.Embedder(rankformer.Checkpoint.open(checkpoint_folder), emb_layer=0)
    rankformer.tl.embed(small_adata, model=embedder)
    assert small_adata.uns["rankformer"]["X_geneformer"]["layer"] == 0


def test_modes(tmp_path, small_adata):
    v1 = save_small_checkpoint(tmp_path / "v1", small_vocabulary(special=False))
    v2 = save_small_checkpoint(tmp_path / "v2", small_vocabulary(special=True))
    rankformer.tl.embed(small_adata, model=v2, mode="cls")
    with pytest.raises(SettingsError, match="no <cls> token"):
        rankformer.tl.embed(small_adata, model=v1, mode="cls")
    with pytest.raises(SettingsError, match="'gene'"):
        rankformer.tl.embed(small_adata, model=v2, mode="gene")


def test_warnings_are_seen_without_logging_set_up(checkpoint_folder, tmp_path, small_adata):
    """And what else is logged is not: as docs/logging.md says."""
    small_adata.X = np.where(np.arange(30)[:, None] == 3, 0, small_adata.X.toarray())
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    code = (
        "import anndata, rankformer, sys\n"
        "rankformer.tl.embed(anndata.read_h5ad(sys.argv[1]), model=sys.argv[2])\n"
    )
    arguments = [sys.executable, "-c", code, tmp_path / "cells.h5ad", checkpoint_folder]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "1 of 30 cells have no embedding: no counts in genes of the vocabulary" in done.stderr
    assert "Genes by" not in done.stderr
    assert done.stdout == ""
