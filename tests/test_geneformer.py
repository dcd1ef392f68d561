"""The interface that Helical's users know, and the steps of the course notebook."""

import inspect

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, load_from_disk
from transformers import BertModel

from rankformer import Geneformer, GeneformerConfig
from rankformer.errors import CheckpointError, CountsError, SettingsError, TokensError
from tests.conftest import save_small_checkpoint, shared_path, small_vocabulary


def model(checkpoint_folder, **settings):
    return Geneformer(GeneformerConfig(model_name=str(checkpoint_folder), **settings))


def test_names_and_defaults_are_those_of_the_notebook():
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(GeneformerConfig).parameters.items()
    }
    assert defaults | {"dtype": "auto"} == {
        "model_name": "gf-12L-30M-i2048",
        "batch_size": 24,
        "emb_layer": -1,
        "emb_mode": "cell",
        "device": "cpu",
        "accelerator": False,
        "nproc": 1,
        "custom_attr_name_dict": None,
        "output_attentions": False,
        "dtype": "auto",
    }
    assert list(inspect.signature(Geneformer.process_data).parameters) == [
        "self", "adata", "gene_names", "output_path", "use_raw_counts",
        "orthologs",  # which Helical has not, so it comes last
    ]  # fmt: skip
    assert list(inspect.signature(Geneformer.get_embeddings).parameters) == [
        "self", "dataset", "output_attentions", "output_genes",
    ]  # fmt: skip


def test_cell_embeddings_are_bert_means_in_the_order_of_the_cells(checkpoint_folder, small_adata):
    geneformer = model(checkpoint_folder, batch_size=4, dtype="float32")
    dataset = geneformer.process_data(small_adata)
    assert isinstance(dataset, Dataset)
    assert dataset.column_names == ["input_ids", "length"]
    embeddings = geneformer.get_embeddings(dataset)
    assert embeddings.shape == (30, 32)
    assert embeddings.dtype == np.float32
    bert = BertModel.from_pretrained(checkpoint_folder).eval()
    frame = geneformer.vocabulary.n_frame_tokens // 2
    for cell, found in zip(dataset, embeddings, strict=True):
        with torch.inference_mode():
            hidden = bert(torch.tensor([cell["input_ids"]])).last_hidden_state[0]
        expected = hidden[frame : len(hidden) - frame].mean(dim=0)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_gene_mode_is_a_list_of_series_by_ensembl_id(checkpoint_folder, small_adata):
    geneformer = model(checkpoint_folder, emb_mode="gene")
    dataset = geneformer.process_data(small_adata)
    embeddings = geneformer.get_embeddings(dataset)
    assert isinstance(embeddings, list)
    assert len(embeddings) == 30
    names = geneformer.vocabulary.ensembl_id_of
    special = set(geneformer.vocabulary.special_tokens.values())
    for cell, series in zip(dataset, embeddings, strict=True):
        assert isinstance(series, pd.Series)
        genes = [names[token] for token in cell["input_ids"] if token not in special]
        assert series.index.tolist() == genes
        assert all(vector.shape == (32,) for vector in series)


def test_attentions_and_genes_on_request(checkpoint_folder, small_adata):
    geneformer = model(checkpoint_folder)
    dataset = geneformer.process_data(small_adata[:3])
    embeddings, attentions, genes = geneformer.get_embeddings(
        dataset, output_attentions=True, output_genes=True
    )
    assert embeddings.shape == (3, 32)
    assert [each.shape for each in attentions] == [(2, n, n) for n in dataset["length"]]
    frame = geneformer.vocabulary.n_frame_tokens
    assert [len(each) for each in genes] == [n - frame for n in dataset["length"]]
    configured = model(checkpoint_folder, output_attentions=True).get_embeddings(dataset)
    assert len(configured) == 2
    np.testing.assert_array_equal(configured[1][0], attentions[0])


def test_cls_mode(checkpoint_folder, small_adata):
    if small_vocabulary().name not in str(model(checkpoint_folder).vocabulary):
        with pytest.raises(SettingsError, match="no <cls> token"):
            model(checkpoint_folder, emb_mode="cls")
        return
    geneformer = model(checkpoint_folder, emb_mode="cls", dtype="float32")
    dataset = geneformer.process_data(small_adata)
    bert = BertModel.from_pretrained(checkpoint_folder).eval()
    with torch.inference_mode():
        first = bert(torch.tensor([dataset[5]["input_ids"]])).last_hidden_state[0, 0]
    np.testing.assert_allclose(geneformer.get_embeddings(dataset)[5], first, atol=1e-5)


def test_attributes_are_carried_and_the_dataset_saved(checkpoint_folder, small_adata, tmp_path):
    geneformer = model(checkpoint_folder, custom_attr_name_dict={"label": "cell_type"}, nproc=2)
    dataset = geneformer.process_data(small_adata, output_path=tmp_path / "cells.dataset")
    assert dataset["label"][:] == small_adata.obs["cell_type"].tolist()
    saved = load_from_disk(str(tmp_path / "cells.dataset"))
    assert saved["input_ids"][:] == dataset["input_ids"][:]
    found = geneformer.get_embeddings(saved)
    np.testing.assert_array_equal(found, geneformer.get_embeddings(dataset))
    missing = model(checkpoint_folder, custom_attr_name_dict={"label": "nope"})
    with pytest.raises(SettingsError, match="no column nope"):
        missing.process_data(small_adata)


def test_filter_pass_leaves_cells_out(checkpoint_folder, small_adata):
    geneformer = model(checkpoint_folder)
    whole = geneformer.process_data(small_adata)
    small_adata.obs["filter_pass"] = [1, 0, 1] * 10
    kept = [i for i in range(30) if i % 3 != 1]
    assert (
        geneformer.process_data(small_adata)["input_ids"][:] == whole.select(kept)["input_ids"][:]
    )


def test_ensembl_ids_are_written_and_nothing_else_is_changed(
    checkpoint_folder, small_adata, tmp_path
):
    """As notebooks rely on: symbols in the index, and ``var["ensembl_id"]`` after it."""
    before = small_adata.copy()
    geneformer = model(checkpoint_folder)
    geneformer.get_embeddings(geneformer.process_data(small_adata))
    names = before.var_names
    known = names.str.startswith("G")
    ids = small_adata.var.pop("ensembl_id")
    assert ids[known].tolist() == [f"ENSG{int(name[1:]):011}" for name in names[known]]
    assert ids[~known].isna().all()
    assert (~known).any()
    assert small_adata.var.equals(before.var)
    assert small_adata.obs.equals(before.obs)
    assert (small_adata.X != before.X).nnz == 0
    small_adata.var["ensembl_id"] = ids
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    assert ad.read_h5ad(tmp_path / "cells.h5ad").var["ensembl_id"].isna().sum() == (~known).sum()


def test_a_column_of_ensembl_ids_stays_as_it_is(checkpoint_folder, small_adata):
    small_adata.var["ensembl_id"] = "mine"
    model(checkpoint_folder).process_data(small_adata)
    assert (small_adata.var["ensembl_id"] == "mine").all()


def test_a_view_stays_a_view(checkpoint_folder, small_adata):
    """To write into it would copy its cells."""
    view = small_adata[:10]
    assert model(checkpoint_folder).process_data(view).num_rows == 10
    assert view.is_view
    assert "ensembl_id" not in small_adata.var


def test_ids_of_the_variables_of_raw_are_not_written(checkpoint_folder, small_adata):
    """Where the counts lie in raw, they are of other variables than var has."""
    few = small_adata[:, :50].copy()
    few.raw = small_adata
    few.X = few.X.log1p()
    model(checkpoint_folder).process_data(few)
    assert "ensembl_id" not in few.var


def test_use_raw_counts(checkpoint_folder, small_adata):
    normalised = small_adata.copy()
    normalised.X = small_adata.X.sqrt()
    geneformer = model(checkpoint_folder)
    with pytest.raises(CountsError):
        geneformer.process_data(normalised)
    assert geneformer.process_data(normalised, use_raw_counts=False).num_rows == 30


def test_without_raw_counts_x_is_taken_as_it_is(checkpoint_folder, small_adata):
    """And no layer that looks more like counts."""
    geneformer = model(checkpoint_folder)
    reversed_ = small_adata.copy()
    reversed_.X.data = 10.5 - reversed_.X.data
    reversed_.layers["counts"] = small_adata.X.copy()
    of_counts = geneformer.process_data(reversed_)["input_ids"][:]
    of_x = geneformer.process_data(reversed_, use_raw_counts=False)["input_ids"][:]
    assert of_counts == geneformer.process_data(small_adata)["input_ids"][:]
    assert of_x != of_counts
    del reversed_.layers["counts"]
    assert of_x == geneformer.process_data(reversed_, use_raw_counts=False)["input_ids"][:]


@pytest.mark.parametrize("mode", ["cell", "gene"])
def test_cells_without_an_embedding_are_told(checkpoint_folder, small_adata, caplog, mode):
    counts = small_adata.X.toarray()
    counts[[3, 7]] = 0
    small_adata.X = counts
    geneformer = model(checkpoint_folder, emb_mode=mode)
    geneformer.get_embeddings(geneformer.process_data(small_adata))
    assert "2 of 30 cells have no embedding: no counts in genes of the vocabulary" in caplog.text


def test_cells_that_are_filtered_out_are_told(checkpoint_folder, small_adata, caplog):
    caplog.set_level("INFO", "rankformer")
    small_adata.obs["filter_pass"] = [1, 0, 1] * 10
    assert model(checkpoint_folder).process_data(small_adata).num_rows == 20
    assert "keeps 20 of 30 cells" in caplog.text


def test_all_cores(checkpoint_folder, small_adata):
    expected = model(checkpoint_folder).process_data(small_adata)["input_ids"][:]
    geneformer = model(checkpoint_folder, nproc=None)
    assert geneformer.process_data(small_adata)["input_ids"][:] == expected


def test_genes_in_a_column(checkpoint_folder, small_adata):
    geneformer = model(checkpoint_folder)
    expected = geneformer.process_data(small_adata)["input_ids"][:]
    moved = small_adata.copy()
    moved.var["name"] = moved.var_names
    moved.var_names = [f"row{i}" for i in range(moved.n_vars)]
    assert geneformer.process_data(moved, gene_names="name")["input_ids"][:] == expected


def test_a_dataset_of_another_model_is_refused(checkpoint_folder, small_adata, tmp_path):
    other = small_vocabulary(special=model(checkpoint_folder).vocabulary.cls_token is None)
    foreign = model(save_small_checkpoint(tmp_path / "other", other))
    dataset = foreign.process_data(small_adata)
    with pytest.raises(TokensError, match="made with the vocabulary"):
        model(checkpoint_folder).get_embeddings(dataset)


def test_a_missing_model_names_the_command_that_fetches_it():
    with pytest.raises(CheckpointError, match="rankformer models fetch gf-12L-30M-i2048"):
        Geneformer(GeneformerConfig())


@pytest.mark.parametrize("name", ["gf-12L-35M-i2048", "no/such/folder"])
def test_an_unknown_model_is_told_where_it_is_named(name):
    with pytest.raises(CheckpointError, match="neither a folder nor a known model"):
        GeneformerConfig(model_name=name)


def test_a_published_model_without_cls_is_told_where_it_is_named():
    """Whether it is on this machine or not."""
    with pytest.raises(SettingsError, match="gf-6L-30M-i2048 has no <cls> token"):
        GeneformerConfig(model_name="Geneformer-V1-10M", emb_mode="cls")
    assert GeneformerConfig(model_name="Geneformer-V2-104M", emb_mode="cls").emb_mode == "cls"


@pytest.mark.parametrize("layer", [4, -5, "last"])
def test_a_layer_that_there_is_not_is_told_before_cells_are_read(checkpoint_folder, layer):
    assert model(checkpoint_folder).checkpoint.spec.n_layers == 3
    with pytest.raises(SettingsError, match="emb_layer"):
        model(checkpoint_folder, emb_layer=layer)


@pytest.mark.parametrize(
    "settings", [{"emb_mode": "tokens"}, {"nproc": 0}, {"batch_size": 0}, {"device": "abacus"}]
)
def test_impossible_settings(checkpoint_folder, small_adata, settings):
    dataset = model(checkpoint_folder).process_data(small_adata)
    with pytest.raises(SettingsError):
        model(checkpoint_folder, **settings).get_embeddings(dataset)


def test_the_cells_of_the_course_notebook_run(tmp_path, monkeypatch, v2):
    """Its steps with the import changed, on real cells with symbols as their index."""
    models = tmp_path / "models"
    models.mkdir()
    save_small_checkpoint(models / "gf-12L-95M-i4096", v2, max_positions=4096)
    monkeypatch.setenv("RANKFORMER_MODELS", str(models))
    ann_data = ad.read_h5ad(shared_path("cells", "pbmc_1k_v2.h5ad"))

    model_config = GeneformerConfig(
        model_name="gf-12L-95M-i4096",
        batch_size=20,
        emb_layer=-1,
        emb_mode="gene",
        device="cpu",
        accelerator=True,
        nproc=4,
    )
    geneformer_v2 = Geneformer(model_config)
    dataset = geneformer_v2.process_data(ann_data[:100])
    assert dataset.column_names == ["input_ids", "length"]
    assert dataset.num_rows == 100
    embeddings = geneformer_v2.get_embeddings(dataset)
    assert len(embeddings) == 100
    assert len(embeddings[0]) == dataset[0]["length"] - 2
    assert len(embeddings[0].iloc[0]) == 32
    assert embeddings[0].index.str.startswith("ENSG").all()
