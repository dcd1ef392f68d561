"""Fine-tuning: it learns, is tested on what it has not seen, and its models are whole."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy.sparse import csr_matrix
from scipy.special import log_softmax
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight
from tests.conftest import save_small_checkpoint, small_vocabulary

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.errors import OutputError, SettingsError
from rankformer.finetuning.finetune import (
    CellTask,
    GeneTask,
    cross_validate,
    finetune,
    found_hyperparameters,
    search_hyperparameters,
)
from rankformer.finetuning.hyperparameters import FineTuningHyperparameters
from rankformer.finetuning.labelled_data import gather_labelled_data
from rankformer.finetuning.settings import FineTuningSettings
from rankformer.finetuning.trainer import draw_cells, draw_loss
from rankformer.tokens.tokenize import open_tokens
from rankformer.training.cells import gather_training_cells
from rankformer.training.labels import read_classes
from rankformer.training.run_folder import bind_checkpoint
from rankformer.training.split_plan import SplitPlan

RECIPE = FineTuningHyperparameters(
    max_steps=60, batch_size=16, warmup_steps=2, learning_rate=3e-3, save_steps=30,
    evaluate_steps=30, log_steps=1,
)  # fmt: skip
SETTINGS = FineTuningSettings(hyperparameters=RECIPE, device="cpu")
TASK = CellTask(("kind",), group="donor")


@pytest.fixture(autouse=True)
def _one_thread():
    """So that sums are taken in one order, and equal runs give equal bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small"
    shape = {"n_layers": 2, "dropout": 0.0, "attention_dropout": 0.0}
    return Checkpoint.open(save_small_checkpoint(folder, small_vocabulary(), **shape))


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """240 cells of two kinds, each with genes of its own, from five donors; some without a label.

    Their number of molecules goes with a number, dose; a second label has three kinds.
    """
    vocabulary, rng = small_vocabulary(), np.random.default_rng(0)
    kind, dose = rng.integers(0, 2, 240), rng.uniform(0, 1, 240)
    mean = np.full((240, 200), 0.05)
    mean[:, :60] = np.where(kind == 0, 0.6, 0.01)[:, None]
    mean[:, 60:120] = np.where(kind == 1, 0.6, 0.01)[:, None]
    mean[:, 120:160] = dose[:, None]
    adata = ad.AnnData(csr_matrix(rng.poisson(mean).astype(np.float32)))
    adata.var_names = list(vocabulary.symbols)
    adata.obs["donor"] = [f"donor{i % 5}" for i in range(240)]
    adata.obs["kind"] = pd.Categorical(np.where(kind == 0, "T", "B"))
    adata.obs.loc[adata.obs_names[:7], "kind"] = np.nan
    adata.obs["dose"] = dose
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    adata.write_h5ad(path)
    return path


def scores(folder):
    return json.loads((folder / "scores.json").read_text())


@pytest.mark.parametrize(
    "change",
    [{}, {"lora_rank": 8, "max_steps": 150}, {"mode": "cls"}, {"balanced_sampling": True}],
    ids=str,
)
def test_it_learns_kinds_of_donors_it_has_not_seen(cells, model, tmp_path, change):
    settings = replace(SETTINGS, hyperparameters=replace(RECIPE, **change))
    finetune([cells], tmp_path / "tuned", model, TASK, settings)
    assert scores(tmp_path / "tuned")["test"]["kind"]["macro_f1"] > 0.9


def test_a_model_is_whole(cells, model, tmp_path):
    folder = tmp_path / "tuned"
    opened = finetune([cells], folder, model, TASK, SETTINGS)
    assert opened.heads[0].classes == ("B", "T")
    assert opened.checkpoint.vocabulary.sha256 == model.vocabulary.sha256
    obs = ad.read_h5ad(cells).obs
    split = pd.read_parquet(folder / "split.parquet").set_index("cell")
    # All labelled cells and no other, with their donors, none of which is torn.
    assert split.index.tolist() == obs.index[obs["kind"].notna()].tolist()
    assert (split["group"] == obs["donor"].loc[split.index].astype(str)).all()
    assert len(split.drop_duplicates(["group", "part"])) == 5
    assert set(split["part"]) == {"train", "validation", "test"}
    # Scores are those of the predictions that are saved, whose labels are those of the file.
    predictions = pd.read_parquet(folder / "predictions.parquet").set_index("cell")
    assert (predictions["true_kind"] == obs["kind"].loc[predictions.index].astype(str)).all()
    tested = predictions[predictions["part"] == "test"]
    expected = f1_score(tested["true_kind"], tested["predicted_kind"], average="macro")
    assert scores(folder)["test"]["kind"]["macro_f1"] == pytest.approx(expected)
    assert (predictions["predicted_kind_probability"] <= 1).all()
    card = (folder / "README.md").read_text()
    for fact in (
        "cells.h5ad | 240 |",
        "2 classes: B, T",
        "Begun from small",
        "The training took 60 steps",
    ):
        assert fact in card


def test_frozen_layers_keep_their_weights_and_others_do_not(cells, model, tmp_path):
    hyperparameters = replace(RECIPE, max_steps=4, freeze_layers=1)
    tuned = finetune(
        [cells], tmp_path / "tuned", model, TASK, replace(SETTINGS, hyperparameters=hyperparameters)
    )
    before, after = (each.encoder().state_dict() for each in (model, tuned.checkpoint))
    changed = {name.split(".")[1] if name.startswith("layers") else "embeddings"
               for name in before if not torch.equal(before[name], after[name])}  # fmt: skip
    assert changed == {"1"}


def test_lora_changes_products_alone_by_the_rank(cells, model, tmp_path):
    hyperparameters = replace(RECIPE, max_steps=6, lora_rank=2)
    tuned = finetune(
        [cells], tmp_path / "tuned", model, TASK, replace(SETTINGS, hyperparameters=hyperparameters)
    )
    before, after = (each.encoder().state_dict() for each in (model, tuned.checkpoint))
    for name, tensor in before.items():
        difference = after[name] - tensor
        is_product = name.startswith("layers") and name.endswith("weight") and "norm" not in name
        if is_product:
            values = torch.linalg.svdvals(difference)
            assert values[1] > 0
            assert values[2] < 1e-4 * values[0]
        else:
            assert not difference.any(), name


def test_several_labels_and_numbers_at_once(cells, model, tmp_path):
    task = CellTask(("kind", "donor"), ("dose",), weights=(1.0, 0.1, 1.0))
    hyperparameters = replace(RECIPE, max_steps=150, evaluate_steps=150, save_steps=150)
    tuned = finetune(
        [cells], tmp_path / "tuned", model, task, replace(SETTINGS, hyperparameters=hyperparameters)
    )
    assert [head.name for head in tuned.heads] == ["kind", "donor", "dose"]
    found = scores(tmp_path / "tuned")["test"]
    assert found["kind"]["macro_f1"] > 0.9
    assert found["dose"]["r2"] > 0.3
    # Numbers come in their own units.
    obs = ad.read_h5ad(cells).obs
    predictions = pd.read_parquet(tmp_path / "tuned" / "predictions.parquet").set_index("cell")
    np.testing.assert_allclose(
        predictions["true_dose"], obs["dose"].loc[predictions.index], atol=1e-6
    )


def test_genes_are_told_apart_by_the_cells_they_are_in(cells, model, tmp_path):
    ids = model.vocabulary.ensembl_ids
    table = pd.DataFrame({"ensembl_id": ids[:120], "marks": ["T"] * 60 + ["B"] * 60})
    hyperparameters = replace(
        RECIPE, max_steps=100, evaluate_steps=50, save_steps=50, learning_rate=1e-2
    )
    settings = replace(SETTINGS, hyperparameters=hyperparameters, plan=SplitPlan(n_folds=2))
    task = GeneTask(table, "ensembl_id", "marks")
    models = cross_validate([cells], tmp_path / "tuned", model, task, settings)
    assert [each.unit for each in models] == ["gene", "gene"]
    tested = pd.concat(
        pd.read_parquet(each.checkpoint.folder / "predictions.parquet").query("part == 'test'")
        for each in models
    )
    assert sorted(tested["gene"]) == sorted(ids[:120])
    summary = scores(tmp_path / "tuned")
    assert summary["test"]["marks"]["mean"]["auc"] == pytest.approx(
        np.mean([each["marks"]["auc"] for each in summary["folds"]])
    )
    assert summary["test"]["marks"]["mean"]["auc"] > 0.9


def test_genes_are_validated_as_they_are_tested(cells, model, tmp_path):
    """Each gene once, by its mean over cells, however many cells it is in."""
    symbols = list(model.vocabulary.symbols)
    table = pd.DataFrame({"gene": symbols[:120], "class": ["T"] * 60 + ["B"] * 60})
    hyperparameters = replace(
        RECIPE, max_steps=8, evaluate_steps=4, save_steps=4, label_smoothing=0.0
    )
    plan = SplitPlan(validation_share=0.3)
    finetune([cells], tmp_path / "tuned", model, GeneTask(table, "gene", "class"),
             replace(SETTINGS, hyperparameters=hyperparameters, plan=plan))  # fmt: skip
    record = json.loads((tmp_path / "tuned" / "training.json").read_text())
    evaluations = [entry for entry in record["log"] if "eval_loss" in entry]
    best = min(evaluations, key=lambda entry: entry["eval_loss"])
    last = scores(tmp_path / "tuned")["validation"]["class"]
    assert best["eval_macro_f1"] == pytest.approx(last["macro_f1"], abs=1e-6)
    assert best["eval_accuracy"] == pytest.approx(last["accuracy"], abs=1e-6)


def test_cells_without_genes_teach_nothing(cells, model):
    adata = ad.read_h5ad(cells)[:8].copy()
    adata.obs["kind"] = ["T", "B"] * 4
    adata.X = csr_matrix(adata.X.toarray() * (np.arange(8) != 3)[:, None])
    opened = [open_tokens(adata, model.vocabulary)]
    labelled_data = gather_labelled_data(gather_training_cells(opened), CellTask(("kind",)))
    inputs = labelled_data.batches(labelled_data.units)(np.arange(8))
    assert torch.isnan(inputs["truth"][0]).nonzero().flatten().tolist() == [3]


def test_the_best_checkpoint_is_kept_not_the_last(cells, model, tmp_path):
    """A rate that ruins the model after it has learned."""
    hyperparameters = replace(RECIPE, schedule="constant_with_warmup", max_steps=60,
                     evaluate_steps=10,
                     save_steps=10, learning_rate=1e-2, patience=1)  # fmt: skip
    finetune(
        [cells], tmp_path / "tuned", model, TASK, replace(SETTINGS, hyperparameters=hyperparameters)
    )
    log = json.loads((tmp_path / "tuned" / "training.json").read_text())["log"]
    losses = {entry["step"]: entry["eval_loss"] for entry in log if "eval_loss" in entry}
    best = min(losses, key=losses.get)
    assert max(losses) == min(best + 10, 60)  # it ends one evaluation after the best, or is done
    kept = load_file(tmp_path / "tuned.run" / f"checkpoint-{best}" / "model.safetensors")
    saved = load_file(tmp_path / "tuned" / "heads.safetensors")
    assert torch.equal(saved["0.weight"], kept["model.heads.0.weight"])


def test_the_last_step_is_judged_too(cells, model, tmp_path):
    hyperparameters = replace(RECIPE, max_steps=7, evaluate_steps=5, save_steps=5)
    finetune(
        [cells], tmp_path / "tuned", model, TASK, replace(SETTINGS, hyperparameters=hyperparameters)
    )
    log = json.loads((tmp_path / "tuned" / "training.json").read_text())["log"]
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [5, 7]


def test_the_last_epoch_is_judged_once(cells, model, tmp_path):
    hyperparameters = replace(
        RECIPE, max_steps=None, epochs=2, evaluate_steps=None, save_steps=None
    )
    finetune(
        [cells], tmp_path / "tuned", model, TASK, replace(SETTINGS, hyperparameters=hyperparameters)
    )
    log = json.loads((tmp_path / "tuned" / "training.json").read_text())["log"]
    assert [entry["epoch"] for entry in log if "eval_loss" in entry] == [1, 2]


def test_what_begins_and_what_is_left_is_told(cells, model, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "rankformer"):
        finetune([cells], tmp_path / "tuned", model, TASK,
                 replace(SETTINGS, hyperparameters=replace(RECIPE, max_steps=1)))  # fmt: skip
    told = [
        caplog.text.index(each)
        for each in ("Reading the cells", "The training begins, and ends with step 1")
    ]
    assert told == sorted(told)
    # What is said to be needless is: the model opens without it.
    words = f"remove the folder when you like, with rm -r {tmp_path / 'tuned.run'}"
    assert words in caplog.text
    shutil.rmtree(tmp_path / "tuned.run")
    assert FineTunedModel.open(tmp_path / "tuned").heads[0].classes == ("B", "T")


@pytest.mark.parametrize(("warmup_steps", "peak"), [(None, 6), (3, 3), (20, 20)])
def test_the_warm_up_is_a_tenth_of_the_steps_or_as_asked(
    cells, model, tmp_path, warmup_steps, peak
):
    hyperparameters = replace(RECIPE, max_steps=60, batch_size=4, warmup_steps=warmup_steps)
    finetune(
        [cells], tmp_path / "tuned", model, TASK, replace(SETTINGS, hyperparameters=hyperparameters)
    )
    log = json.loads((tmp_path / "tuned" / "training.json").read_text())["log"]
    rates = [entry["learning_rate"] for entry in log if "learning_rate" in entry]
    # The rate of each step is told after it, so the first is 0.
    assert int(np.argmax(rates)) == peak
    assert max(rates) == pytest.approx(hyperparameters.learning_rate)


def test_probabilities_are_calibrated_on_the_validation_part_alone(cells, model, tmp_path):
    """The temperature makes the validation part likeliest; of the test part it is told nothing.

    Labels are drawn by chance in the donors that are validated on, and true in the others.
    """
    adata, plan = ad.read_h5ad(cells), SplitPlan(validation_share=0.2, test_share=0.4)
    labelled_data = gather_labelled_data(
        gather_training_cells([open_tokens(adata, model.vocabulary)]), TASK
    )
    (split,) = labelled_data.splits(plan)
    validated = adata.obs["donor"].iloc[labelled_data.cells_of(split.validation)].unique()
    drawn = np.random.default_rng(1).choice(["T", "B"], adata.n_obs)
    is_drawn = adata.obs["donor"].isin(validated) & adata.obs["kind"].notna()
    adata.obs["kind"] = np.where(is_drawn, drawn, adata.obs["kind"])
    tuned = finetune([adata], tmp_path / "tuned", model, TASK, replace(SETTINGS, plan=plan))
    predictions = pd.read_parquet(tmp_path / "tuned" / "predictions.parquet")
    temperature = tuned.heads[0].temperature
    best = {
        part: likeliest_temperature(own, temperature) for part, own in predictions.groupby("part")
    }
    assert temperature == pytest.approx(best["validation"], rel=0.02)
    assert temperature > 1.5 * best["test"]


def likeliest_temperature(predictions, temperature):
    """Over a grid: where labels, a share of 1 / (n + 2) of each given to all, are likeliest."""
    classes = ["B", "T"]
    shares = predictions[[f"predicted_kind_probability_{name}" for name in classes]].to_numpy()
    logits = np.log(shares) * temperature
    spread = 1 / (len(shares) + 2)
    target = np.eye(2)[[classes.index(name) for name in predictions["true_kind"]]]
    target = (1 - spread) * target + spread / 2
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 2000))
    losses = [-(target * log_softmax(logits / each, axis=1)).sum() for each in grid]
    return grid[int(np.argmin(losses))]


@pytest.mark.parametrize(("resume", "sentence"), [(False, "exists already"), (True, "complete")])
def test_an_output_that_is_there_is_told_before_cells_are_read(model, tmp_path, resume, sentence):
    (tmp_path / "tuned").mkdir()
    with pytest.raises(OutputError, match=sentence):
        finetune([tmp_path / "none.h5ad"], tmp_path / "tuned", model, TASK,
                 replace(SETTINGS, resume=resume))  # fmt: skip


def test_weights_of_classes_are_those_of_scikit_learn(model):
    column = pd.Series(["a"] * 6 + ["b"] * 3 + ["c"])
    labels = read_classes(column, "kind")
    hyperparameters = replace(RECIPE, class_weights=True)
    objective = draw_loss(model, [labels], np.arange(10), hyperparameters, "cell")
    weights = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=column)
    outputs = torch.randn(10, 3)
    truth = torch.from_numpy(labels.truth).long()
    expected = torch.nn.functional.cross_entropy(outputs, truth, torch.tensor(weights).float())
    torch.testing.assert_close(objective.losses[0](outputs, truth), expected)


def test_balanced_sampling_draws_each_class_equally_often():
    labels = read_classes(pd.Series(["a"] * 900 + ["b"] * 100), "kind")
    hyperparameters = replace(RECIPE, balanced_sampling=True)
    draws = draw_cells(np.arange(1000), 1000, labels, hyperparameters)
    epochs = []
    for epoch in (0, 1):
        draws.set_epoch(epoch)
        epochs.append(np.array(list(draws)) - 1000 * epoch)
        # Four standard deviations of a fair coin thrown 1,000 times.
        assert abs((epochs[-1] >= 900).sum() - 500) < 64
    assert not np.array_equal(*epochs)


@pytest.mark.parametrize("n_unlabelled", [100, 500, 900])
def test_balanced_sampling_draws_cells_without_the_label_as_often_as_they_are(n_unlabelled):
    """They may have another label, which is learnt beside this one."""
    n_rare = (1000 - n_unlabelled) // 10
    kinds = ["a"] * (1000 - n_unlabelled - n_rare) + ["b"] * n_rare + [None] * n_unlabelled
    labels = read_classes(pd.Series(kinds, dtype=object), "kind")
    draws = draw_cells(np.arange(1000), 1000, labels, replace(RECIPE, balanced_sampling=True))
    drawn = np.array(kinds, dtype=object)[np.array(list(draws))]
    found = {kind: sum(each == kind for each in drawn) for kind in ("a", "b", None)}
    each = (1000 - n_unlabelled) / 2
    for kind, expected in {"a": each, "b": each, None: n_unlabelled}.items():
        # Four standard deviations of 1,000 draws.
        assert abs(found[kind] - expected) < 4 * np.sqrt(expected * (1 - expected / 1000)), kind


def test_without_a_group_it_is_told_what_may_leak(cells, model, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "rankformer"):
        hyperparameters = replace(RECIPE, max_steps=1)
        finetune([cells], tmp_path / "tuned", model, CellTask(("kind",)),
                 replace(SETTINGS, hyperparameters=hyperparameters))  # fmt: skip
    assert "No group was named" in caplog.text


def test_a_class_that_is_not_trained_on_is_told(cells, model, tmp_path, caplog):
    adata = ad.read_h5ad(cells)
    adata.obs["kind"] = adata.obs["kind"].astype(object)
    adata.obs.loc[adata.obs["donor"] == "donor0", "kind"] = "rare"
    plan = SplitPlan(validation_share=0.2, test_share=0.2)
    for seed in range(20):
        plan = replace(plan, seed=seed)
        hyperparameters = replace(RECIPE, max_steps=1, seed=seed)
        caplog.clear()
        finetune([adata], tmp_path / f"tuned{seed}", model, TASK,
                 replace(SETTINGS, hyperparameters=hyperparameters, plan=plan))  # fmt: skip
        split = pd.read_parquet(tmp_path / f"tuned{seed}" / "split.parquet")
        is_trained = (split.query("group == 'donor0'")["part"] == "train").all()
        assert ("no cell of rare is trained on" in caplog.text) is not is_trained
        if not is_trained:
            return
    pytest.fail("No seed put the rare class into the test part")


# Killed, and resumed.


def command(cells, model, output, *more):
    arguments = [
        "finetune", cells, "-o", output, "-m", model.folder, "--label", "kind", "--group", "donor",
        "--max-steps", 24, "--batch-size", 8, "--warmup-steps", 2, "--evaluate-steps", 4,
        "--log-steps", 1, "--device", "cpu", "--threads", 1, "--learning-rate", 1e-3,
        "--dropout", 0.3, *more,
    ]  # fmt: skip
    return [sys.executable, "-m", "rankformer", *map(str, arguments)]


def test_killed_and_resumed(cells, model, tmp_path):
    """Kill -9 costs the steps since the last checkpoint, and changes not a bit of the result."""
    subprocess.run(command(cells, model, tmp_path / "whole"), check=True, capture_output=True)
    kill_in_step_14(command(cells, model, tmp_path / "killed"))
    assert not (tmp_path / "killed").exists()
    words = command(cells, model, tmp_path / "killed", "--resume")
    # Another seed is another split: what was tested on would have been trained on.
    other = subprocess.run([*words, "--test-share", "0.4"], capture_output=True, text=True)
    assert other.returncode == 2
    assert "split_sha256" in other.stderr
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "Step 1 of" not in done.stderr
    for file in ("model.safetensors", "heads.safetensors"):
        whole, killed = (load_file(tmp_path / name / file) for name in ("whole", "killed"))
        for name, tensor in whole.items():
            assert torch.equal(tensor, killed[name]), name
    tables = [pd.read_parquet(tmp_path / name / "split.parquet") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*tables)


def kill_in_step_14(words, *, of_run=1):
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    n_runs = 0
    for line in process.stderr:
        n_runs += line.startswith("Step 14 of")
        if n_runs == of_run:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_a_run_that_was_moved_finds_its_best_checkpoint(cells, model, tmp_path, monkeypatch):
    """Its path was relative to a folder that is another one now."""
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "before")
    kill_in_step_14(command(cells, model, "tuned"))
    run = (tmp_path / "before" / "tuned.run").rename(tmp_path / "after" / "tuned.run")
    state_file = run / "checkpoint-12" / "trainer_state.json"
    state = json.loads(state_file.read_text())
    best = run / Path(state["best_model_checkpoint"]).name
    state_file.write_text(json.dumps({**state, "best_metric": 0.0}))
    bind_checkpoint(state_file.parent)
    kept = load_file(best / "model.safetensors")["model.heads.0.weight"]
    monkeypatch.chdir(tmp_path)
    words = command(cells, model, Path("after", "tuned"), "--resume")
    subprocess.run(words, check=True, capture_output=True)
    saved = load_file(tmp_path / "after" / "tuned" / "heads.safetensors")["0.weight"]
    assert torch.equal(saved, kept)


def test_a_training_that_took_its_last_step_keeps_its_best_one(cells, model, tmp_path):
    """As if it had ended after its last checkpoint, before the model was written."""
    # At such a rate the best step is not the last one.
    recipe = replace(RECIPE, learning_rate=0.05, save_steps=10, evaluate_steps=10)
    settings = replace(SETTINGS, hyperparameters=recipe)
    finetune([cells], tmp_path / "first", model, TASK, settings)
    (tmp_path / "first.run").rename(tmp_path / "again.run")
    steps = [int(each.name.split("-")[1]) for each in (tmp_path / "again.run").glob("checkpoint-*")]
    state_file = tmp_path / "again.run" / f"checkpoint-{max(steps)}" / "trainer_state.json"
    state = json.loads(state_file.read_text())
    assert state["global_step"] == state["max_steps"] > state["best_global_step"]
    finetune([cells], tmp_path / "again", model, TASK, replace(settings, resume=True))
    for name in ("model.safetensors", "heads.safetensors"):
        first, again = (load_file(tmp_path / each / name) for each in ("first", "again"))
        assert all(torch.equal(first[key], again[key]) for key in first)


def test_folds_that_are_done_are_not_done_again(cells, model, tmp_path):
    settings = replace(
        SETTINGS, hyperparameters=replace(RECIPE, max_steps=2), plan=SplitPlan(n_folds=3)
    )
    output = tmp_path / "folds"
    cross_validate([cells], output, model, TASK, settings)
    written = (output / "fold-1" / "heads.safetensors").stat().st_mtime_ns
    (output / "fold-3" / "heads.json").rename(tmp_path / "away")
    for file in (output / "fold-3").iterdir():
        file.unlink()
    (output / "fold-3").rmdir()
    with pytest.raises(OutputError, match="exists already"):
        cross_validate([cells], output, model, TASK, settings)
    cross_validate([cells], output, model, TASK, replace(settings, resume=True))
    assert FineTunedModel.open(output / "fold-3").heads
    assert (output / "fold-1" / "heads.safetensors").stat().st_mtime_ns == written


def test_a_search_finds_a_recipe(cells, model):
    pytest.importorskip("optuna")
    hyperparameters = replace(RECIPE, max_steps=3)
    found = search_hyperparameters(
        [cells], model, TASK, replace(SETTINGS, hyperparameters=hyperparameters), n_trials=2
    )
    assert found != hyperparameters
    again = search_hyperparameters(
        [cells], model, TASK, replace(SETTINGS, hyperparameters=hyperparameters), n_trials=2
    )
    assert again == found
    assert 1e-5 <= found.learning_rate <= 3e-3
    assert replace(found, learning_rate=0.003, weight_decay=0.001, warmup_steps=2,
                   epochs=hyperparameters.epochs) == hyperparameters  # fmt: skip


def test_a_search_is_taken_up_when_its_run_is_resumed(cells, model, tmp_path):
    pytest.importorskip("optuna")
    words = command(cells, model, tmp_path / "tuned", "--search", 2)
    kill_in_step_14(words, of_run=3)  # after two trials
    begun = json.loads((tmp_path / "tuned.run" / "settings.json").read_text())["hyperparameters"]
    other = subprocess.run([*words, "--resume", "--dropout", "0.1"], capture_output=True, text=True)
    assert other.returncode == 2
    assert "hyperparameters.dropout was 0.3, is 0.1" in other.stderr
    done = subprocess.run([*words, "--resume"], check=True, capture_output=True, text=True)
    assert "Trial" not in done.stderr
    record = json.loads((tmp_path / "tuned" / "training.json").read_text())
    assert record["hyperparameters"] == begun
    assert begun["learning_rate"] != 1e-3


@pytest.mark.slow
def test_a_search_by_ray(cells, model, tmp_path):
    """Its trials are processes, to which the cells go, also those of a file.

    A training before it in the same process, which ended within an epoch, does not matter.
    """
    pytest.importorskip("ray")
    hyperparameters = replace(RECIPE, max_steps=3)
    settings = replace(SETTINGS, hyperparameters=hyperparameters)
    finetune([cells], tmp_path / "before", model, TASK, settings)
    found = search_hyperparameters([cells], model, TASK, settings, n_trials=2, backend="ray")
    assert 1e-5 <= found.learning_rate <= 3e-3


def test_damaged_settings_of_a_run(tmp_path):
    (tmp_path / "tuned.run").mkdir()
    (tmp_path / "tuned.run" / "settings.json").write_text("[]")
    with pytest.raises(OutputError, match="its settings are damaged"):
        found_hyperparameters(RECIPE, tmp_path / "tuned")


def test_genes_to_validate_on_that_no_cell_has(cells, model, tmp_path):
    """A loss of nothing would be the least of all."""
    adata = ad.read_h5ad(cells)
    symbols = list(adata.var_names)
    table = pd.DataFrame({"gene": symbols[:40], "class": ["T", "B"] * 20})
    opened = [open_tokens(adata, model.vocabulary)]
    labelled_data = gather_labelled_data(
        gather_training_cells(opened), GeneTask(table, "gene", "class")
    )
    (split,) = labelled_data.splits(SplitPlan())
    ids = model.vocabulary.ensembl_id_of[split.validation]
    symbol_of = model.vocabulary.symbol_of
    without = adata[:, ~adata.var_names.isin([symbol_of[each] for each in ids])].copy()
    with pytest.raises(SettingsError, match="None of the genes to validate on is in the 240 cells"):
        finetune([without], tmp_path / "tuned", model, GeneTask(table, "gene", "class"), SETTINGS)


def test_cells_without_a_prediction_are_told(cells, model, tmp_path, caplog):
    adata = ad.read_h5ad(cells)
    adata.X = csr_matrix(adata.X.toarray() * (adata.obs["donor"] != "donor0").to_numpy()[:, None])
    settings = replace(
        SETTINGS, hyperparameters=replace(RECIPE, max_steps=2), plan=SplitPlan(n_folds=5)
    )
    cross_validate([adata], tmp_path / "folds", model, TASK, settings)
    assert "are without a gene of the vocabulary: they have no prediction" in caplog.text


def test_a_rate_that_is_too_high_is_told(cells, model, tmp_path):
    hyperparameters = replace(RECIPE, learning_rate=1e30)
    with pytest.raises(SettingsError, match="the training has diverged"):
        finetune(
            [cells],
            tmp_path / "tuned",
            model,
            TASK,
            replace(SETTINGS, hyperparameters=hyperparameters),
        )
    assert not (tmp_path / "tuned").exists()


def test_numbers_of_one_donor_are_no_numbers_to_train_on(cells, model, tmp_path):
    adata = ad.read_h5ad(cells)
    adata.obs.loc[adata.obs["donor"] != "donor0", "dose"] = np.nan
    task = CellTask(("kind",), ("dose",), group="donor")
    settings = replace(
        SETTINGS, hyperparameters=replace(RECIPE, max_steps=1), plan=SplitPlan(n_folds=5)
    )
    with pytest.raises(SettingsError, match=r"0 number\(s\) of 'dose'"):
        cross_validate([adata], tmp_path / "tuned", model, task, settings)


@pytest.mark.parametrize("change", [{"lora_rank": 2, "freeze_layers": 1}, {"mode": "max"}])
def test_recipes_that_there_are_not(change):
    with pytest.raises(SettingsError):
        replace(RECIPE, **change)


@pytest.mark.parametrize(
    ("task", "hyperparameters", "sentence"),
    [
        (TASK, {"freeze_layers": 3}, "3 layers were to be frozen, of 2"),
        (CellTask(("kind",), weights=(float("nan"),)), {}, r"1 weight\(s\)"),
        (CellTask(("a/kind",)), {}, "cannot be the name of a column of predictions"),
        (CellTask(numbers=("dose",)), {"balanced_sampling": True}, "no cell has a class"),
        (CellTask(("kind",), group="plate"), {}, "no column 'plate'"),
    ],
)
def test_what_does_not_go_together(cells, model, tmp_path, task, hyperparameters, sentence):
    settings = replace(SETTINGS, hyperparameters=replace(RECIPE, **hyperparameters))
    with pytest.raises(SettingsError, match=sentence):
        finetune([cells], tmp_path / "tuned", model, task, settings)
    assert not list(tmp_path.iterdir())


# Several processes.


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_tune_as_one_that_adds_up_two_batches(cells, model, tmp_path):
    """Same draws, gradients averaged: equal but for rounding. One of them writes, also of folds."""
    script = tmp_path / "tune.py"
    script.write_text(
        "import sys, torch\n"
        "from rankformer import (CellTask, FineTuningHyperparameters, FineTuningSettings,\n"
        "                        SplitPlan, cross_validate, finetune)\n"
        "torch.set_num_threads(1)\n"
        "cells, model, output, accumulation = sys.argv[1:]\n"
        "own = FineTuningHyperparameters(max_steps=6, batch_size=4, warmup_steps=0, dropout=0.0,\n"
        "                                accumulation=int(accumulation), learning_rate=1e-3)\n"
        "task = CellTask(('kind',), group='donor')\n"
        "settings = FineTuningSettings(hyperparameters=own, device='cpu')\n"
        "finetune([cells], output, model, task, settings)\n"
        "settings = FineTuningSettings(own, device='cpu', plan=SplitPlan(n_folds=2))\n"
        "cross_validate([cells], output + '-folds', model, task, settings)\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
                "--standalone"]  # fmt: skip
    for name, launcher, accumulation in (("one", [sys.executable], 2), ("two", torchrun, 1)):
        words = [*launcher, script, cells, model.folder, tmp_path / name, accumulation]
        done = subprocess.run(
            list(map(str, words)), capture_output=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    for folder in ("{}", "{}-folds/fold-2"):
        for file in ("model.safetensors", "heads.safetensors"):
            one, two = (load_file(tmp_path / folder.format(name) / file) for name in ("one", "two"))
            for key, tensor in one.items():
                torch.testing.assert_close(two[key], tensor, atol=2e-5, rtol=1e-4)
    one, two = (scores(tmp_path / f"{name}-folds")["test"]["kind"] for name in ("one", "two"))
    assert one["mean"] == pytest.approx(two["mean"], abs=1e-3)
