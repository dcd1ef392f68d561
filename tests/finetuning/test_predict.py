"""Predictions: the same bits after reload, of cells in their order, and none that is made up."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from tests.conftest import save_small_checkpoint, small_vocabulary

import rankformer
from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.errors import GeneError, SettingsError
from rankformer.finetuning.finetune import CellTask, GeneTask, finetune
from rankformer.finetuning.hyperparameters import FineTuningHyperparameters
from rankformer.finetuning.settings import FineTuningSettings

RECIPE = FineTuningHyperparameters(
    max_steps=30, batch_size=16, warmup_steps=2, learning_rate=3e-3, save_steps=30,
    evaluate_steps=30,
)  # fmt: skip


def make_cells(seed=0, n_cells=120):
    vocabulary, rng = small_vocabulary(), np.random.default_rng(seed)
    kind = rng.integers(0, 2, n_cells)
    mean = np.full((n_cells, 200), 0.05)
    mean[:, :60] = np.where(kind == 0, 0.6, 0.01)[:, None]
    mean[:, 60:120] = np.where(kind == 1, 0.6, 0.01)[:, None]
    adata = ad.AnnData(csr_matrix(rng.poisson(mean).astype(np.float32)))
    adata.var_names = list(vocabulary.symbols)
    adata.obs_names = [f"cell{i}" for i in range(n_cells)]
    adata.obs["kind"] = pd.Categorical(np.where(kind == 0, "T", "B"))
    adata.obs["depth"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs["donor"] = [f"donor{i % 4}" for i in range(n_cells)]
    return adata


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """More of them only wait for one another in a model so small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A model of two labels, its folder, and its cells in a file."""
    folder = tmp_path_factory.mktemp("tuned")
    shape = {"n_layers": 2, "dropout": 0.0, "attention_dropout": 0.0}
    model = Checkpoint.open(save_small_checkpoint(folder / "small", small_vocabulary(), **shape))
    make_cells().write_h5ad(folder / "cells.h5ad")
    task = CellTask(("kind",), ("depth",), group="donor")
    settings = FineTuningSettings(hyperparameters=RECIPE, device="cpu")
    finetune([folder / "cells.h5ad"], folder / "model", model, task, settings)
    return folder


def predict(tuned, command, *more):
    status, _, err = command(
        "predict", tuned / "cells.h5ad", "-m", tuned / "model", "--device", "cpu", "--dtype",
        "float32", *more,
    )  # fmt: skip
    assert status == 0, err


def test_predictions_are_those_that_were_saved_with_the_model(tuned, command, tmp_path):
    """The same bits in a later process: what was written after training, and what is told now."""
    predict(tuned, command, "-o", tmp_path / "out.h5ad")
    obs = ad.read_h5ad(tmp_path / "out.h5ad").obs
    saved = pd.read_parquet(tuned / "model" / "predictions.parquet").set_index("cell")
    now = obs.loc[saved.index]
    assert (now["predicted_kind"].astype(str) == saved["predicted_kind"]).all()
    np.testing.assert_array_equal(
        now["predicted_kind_probability"], saved["predicted_kind_probability"]
    )
    np.testing.assert_array_equal(now["predicted_depth"], saved["predicted_depth"])


def test_another_number_of_threads_changes_rounding_alone(tuned):
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        adata = make_cells(seed=1)
        rankformer.tl.predict(adata, model=tuned / "model", device="cpu", dtype="float32")
        found.append(adata.obsm["predicted_kind_probabilities"])
    torch.set_num_threads(before)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_new_cells_are_named_and_doubt_is_marked(tuned):
    adata = make_cells(seed=2)
    rankformer.tl.predict(adata, model=tuned / "model", device="cpu", threshold=0.9)
    obs = adata.obs
    assert (obs["predicted_kind"].astype(str) == obs["kind"].astype(str)).mean() > 0.9
    is_low = obs["predicted_kind_probability"] < 0.9
    assert (obs["predicted_kind_uncertain"] == is_low).all()
    probabilities = adata.obsm["predicted_kind_probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    classes = adata.uns["rankformer"]["predicted_kind"]["classes"]
    assert classes == ["B", "T"]
    named = np.array(classes)[probabilities.argmax(axis=1)]
    assert (named == obs["predicted_kind"].astype(str)).all()
    np.testing.assert_allclose(probabilities.max(axis=1), obs["predicted_kind_probability"])


@pytest.mark.parametrize("threshold", ["0.9", None, 1.5, float("nan")])
def test_a_threshold_is_a_probability(tuned, threshold):
    with pytest.raises(SettingsError, match=r"[Tt]hreshold .*A probability from 0 to 1"):
        rankformer.tl.predict(
            make_cells(seed=2), model=tuned / "model", device="cpu", threshold=threshold
        )


def test_a_cell_without_genes_gets_nothing(tuned, caplog):
    adata = make_cells(seed=3, n_cells=10)
    counts = adata.X.toarray()
    counts[4] = 0
    adata.X = csr_matrix(counts)
    rankformer.tl.predict(adata, model=tuned / "model", device="cpu")
    row = adata.obs.iloc[4]
    assert pd.isna(row["predicted_kind"])
    assert np.isnan(row["predicted_kind_probability"])
    assert np.isnan(row["predicted_depth"])
    assert "no counts" in row["predicted_kind_missing"]
    assert adata.obs["predicted_kind"].notna().sum() == 9
    assert "1 of 10 cells" in caplog.text


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables(tuned, command, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    predict(tuned, command, "-o", path, "--threshold", 0.99, "--prefix", "guess_")
    table = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert table["cell"].tolist() == make_cells().obs_names.tolist()
    assert set(table["guess_kind"]) == {"B", "T"}
    assert (table["guess_kind_uncertain"] == (table["guess_kind_probability"] < 0.99)).all()


def test_a_file_whose_genes_do_not_map_is_refused(tuned):
    adata = make_cells()
    adata.var_names = [f"At1g{i:05d}" for i in range(200)]
    with pytest.raises(GeneError):
        rankformer.tl.predict(adata, model=tuned / "model", device="cpu")
    assert "predicted_kind" not in adata.obs


def test_genes(tuned, command, tmp_path):
    vocabulary = small_vocabulary()
    ids = vocabulary.ensembl_ids
    labels = pd.DataFrame({"ensembl_id": ids[:120], "marks": ["T"] * 60 + ["B"] * 60})
    hyperparameters = FineTuningHyperparameters(
        max_steps=60, batch_size=16, warmup_steps=2, learning_rate=1e-2, freeze_layers=0
    )
    finetune(
        [tuned / "cells.h5ad"], tmp_path / "genes", Checkpoint.open(tuned / "small"),
        GeneTask(labels, "ensembl_id", "marks"),
        FineTuningSettings(hyperparameters=hyperparameters, device="cpu"),
    )  # fmt: skip
    status, _, err = command(
        "predict", tuned / "cells.h5ad", "-m", tmp_path / "genes", "-o", tmp_path / "out.csv",
        "--device", "cpu", "--dtype", "float32",
    )  # fmt: skip
    assert status == 0, err
    table = pd.read_csv(tmp_path / "out.csv").set_index("ensembl_id")
    counts = ad.read_h5ad(tuned / "cells.h5ad").X
    # All genes met in the cells, each with the cells that have it among their first 62.
    assert (
        table["n_cells"] <= counts.getnnz(axis=0)[[ids.index(each) for each in table.index]]
    ).all()
    saved = pd.read_parquet(tmp_path / "genes" / "predictions.parquet").set_index("gene")
    np.testing.assert_allclose(
        table.loc[saved.index, "predicted_marks_probability"], saved["predicted_marks_probability"],
        atol=1e-6,
    )  # fmt: skip
    with pytest.raises(SettingsError, match="labels of genes"):
        rankformer.tl.predict(make_cells(), model=tmp_path / "genes", device="cpu")


def test_a_model_of_other_hands_is_read_by_its_files_alone(tuned, tmp_path):
    """No pickle, no code: the folder holds JSON, safetensors, its hash, Parquet and Markdown."""
    suffixes = {path.suffix for path in (tuned / "model").iterdir()}
    assert suffixes == {".json", ".safetensors", ".sha256", ".parquet", ".md"}
    heads = json.loads((tuned / "model" / "heads.json").read_text())
    assert [each["name"] for each in heads["heads"]] == ["kind", "depth"]
    assert FineTunedModel.open(tuned / "model").heads[1].scale > 1


def test_it_is_evaluated_on_its_test_part_alone(tuned):
    evaluation = rankformer.evaluate_finetuned(tuned / "cells.h5ad", tuned / "model", label="kind")
    saved = pd.read_parquet(tuned / "model" / "predictions.parquet").query("part == 'test'")
    assert evaluation.n_cells == len(saved)
    is_right = saved["true_kind"] == saved["predicted_kind"]
    assert evaluation.figures.loc["accuracy", "model"] == pytest.approx(is_right.mean())
    scores = json.loads((tuned / "model" / "scores.json").read_text())["test"]["kind"]
    found = evaluation.figures["model"]
    assert found["macro_f1"] == pytest.approx(scores["macro_f1"])
    assert found["roc_auc"] == pytest.approx(scores["auc"])
    assert found["log_loss"] == pytest.approx(scores["log_loss"], rel=1e-4)
    assert evaluation.figures.loc["accuracy", "logistic regression"] > 0.9


def test_other_cells_are_not_taken_for_those_of_the_split(tuned):
    adata = make_cells(seed=5)
    adata.obs_names = [f"other{i}" for i in range(adata.n_obs)]
    with pytest.raises(SettingsError, match="0 of the 120 cells of the model's split"):
        rankformer.evaluate_finetuned(adata, tuned / "model", label="kind")
    with pytest.raises(SettingsError, match="no classes of 'depth'"):
        rankformer.evaluate_finetuned(adata, tuned / "model", label="depth")
