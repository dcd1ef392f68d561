"""Files that earlier versions wrote are read today, and give what they gave."""

import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import rankformer
from rankformer.cells.obsm import read_class_probabilities, read_obsm
from rankformer.tokens.tokenized_cells import TokenizedCells

VERSIONS = sorted(each for each in Path(__file__).parent.iterdir() if (each / "model").is_dir())
CPU = "--device cpu --dtype float32"


@pytest.fixture(params=VERSIONS, ids=lambda each: each.name)
def archive(request, tmp_path, monkeypatch):
    """A copy of an archive, as the working folder."""
    shutil.copytree(request.param, tmp_path / "archive")
    monkeypatch.chdir(tmp_path / "archive")


@pytest.fixture
def run(archive, command):
    def called(words):
        status, shown, said = command(*words.split())
        assert status == 0, said
        return shown + said

    return called


def test_there_is_an_archive_of_each_version_that_was_released():
    assert [each.name for each in VERSIONS] == ["0.1.0"]


def test_models_and_their_vocabularies(archive):
    checkpoint = rankformer.Checkpoint.open("model")
    own = rankformer.Vocabulary.load("vocabulary.parquet")
    assert own.sha256 == checkpoint.vocabulary.sha256
    assert len(own.ensembl_ids) == 60
    assert checkpoint.masked_language_model().encoder.spec == checkpoint.spec


def test_embeddings_are_read_and_are_those_of_today(run):
    run(f"embed cells.h5ad -o today.npy --model model {CPU}")
    today = np.load("today.npy")
    assert today.std() > 0.1
    csv = pd.read_csv("embedded.csv", index_col="cell").to_numpy(np.float32)
    parquet = np.stack(pd.read_parquet("embedded.parquet")["vector"])
    obsm = read_obsm("embedded.h5ad", ["X_geneformer"], 40)["X_geneformer"]
    for old in (np.load("embedded.npy"), csv, parquet, obsm):
        np.testing.assert_allclose(old, today, atol=1e-5)


def test_embeddings_of_genes_are_those_of_today(run):
    run(f"embed cells.h5ad -o today.parquet --mode gene --summary mean --model model {CPU}")
    old, today = pd.read_parquet("genes.parquet"), pd.read_parquet("today.parquet")
    assert old["ensembl_id"].tolist() == today["ensembl_id"].tolist()
    np.testing.assert_allclose(np.stack(old["vector"]), np.stack(today["vector"]), atol=1e-5)


def test_a_reference_gives_the_labels_that_it_gave(run):
    run(f"annotate cells.h5ad -r reference -o today.csv --model model --n-neighbors 3 {CPU}")
    old, today = pd.read_csv("annotated.csv"), pd.read_csv("today.csv")
    pd.testing.assert_frame_equal(old, today, rtol=1e-3, atol=1e-5)
    assert set(old["predicted_kind_best"]) == {"T", "B"}


def test_a_fine_tuned_model_predicts_as_it_did(run):
    run(f"predict cells.h5ad -o today.h5ad --model finetuned {CPU}")
    old, today = ad.read_h5ad("predicted.h5ad"), ad.read_h5ad("today.h5ad")
    assert old.obs["predicted_kind"].tolist() == today.obs["predicted_kind"].tolist()
    np.testing.assert_allclose(
        old.obs["predicted_age"].to_numpy(), today.obs["predicted_age"].to_numpy(), rtol=1e-3
    )
    classes, probabilities = read_class_probabilities("predicted.h5ad", "predicted_kind", 40)
    assert classes == ("B", "T")
    np.testing.assert_allclose(probabilities, today.obsm["predicted_kind_probabilities"], atol=1e-4)
    run("evaluate cells.h5ad -o evaluation --label kind --classifier finetuned")
    assert Path("evaluation").is_dir()


def test_tokens_are_those_of_today(run):
    old = TokenizedCells.load("tokens")
    run("tokenize cells.h5ad -o today --attribute kind --model model")
    today = TokenizedCells.load("today")
    assert [old.cell(i).tolist() for i in range(40)] == [today.cell(i).tolist() for i in range(40)]
    run(f"embed tokens -o of-tokens.npy --model model {CPU}")
    np.testing.assert_allclose(np.load("of-tokens.npy"), np.load("embedded.npy"), atol=1e-5)


def test_a_sketch_gives_the_medians_of_today(run):
    run("vocabulary build corpus.sketch -o of-sketch.parquet --min-cells 1")
    run("vocabulary build cells.h5ad -o of-cells.parquet --min-cells 1")
    old, today = map(rankformer.Vocabulary.load, ("of-sketch.parquet", "of-cells.parquet"))
    assert old.sha256 == today.sha256


def test_perturbations_are_tested_and_are_those_of_today(run):
    run("perturb-test perturbed.parquet -o tested.csv --against aggregate --min-cells 1")
    assert len(pd.read_csv("tested.csv"))
    run(f"perturb cells.h5ad -o today.parquet --model model --n-cells 3 {CPU}")
    old, today = (
        pq.read_table(each).to_pandas() for each in ("perturbed.parquet", "today.parquet")
    )
    pd.testing.assert_frame_equal(old, today, rtol=1e-4, atol=1e-5)


TRAINING = "--device cpu --max-steps 8 --batch-size 8 --log-steps 1 --resume"


def test_a_fine_tuning_that_was_ended_goes_on(run):
    said = run(
        f"finetune cells.h5ad -o tuned-on --label kind --model model --evaluate-steps 2 {TRAINING}"
    )
    assert "Step 5 of 8" in said
    assert "Step 4 of 8" not in said
    assert rankformer.FineTunedModel.open("tuned-on").heads[0].classes == ("B", "T")


def test_a_pretraining_that_was_ended_goes_on(run):
    said = run(
        "pretrain cells.h5ad -o trained-on --model model --warmup-steps 1 --save-steps 2 "
        f"--evaluate-steps 4 --held-out-share 0.1 {TRAINING}"
    )
    assert "Step 5 of 8" in said
    assert "Step 4 of 8" not in said
    assert rankformer.Checkpoint.open("trained-on").encoder().spec.n_layers
