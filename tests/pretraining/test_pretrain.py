"""Pretraining: it learns, its models are whole, and a killed run goes on as if nothing had been."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.sparse import csr_matrix
from tests.conftest import small_counts, small_vocabulary
from tests.damage import Payload, flip_byte
from transformers import BertForMaskedLM

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.errors import OutputError, SettingsError
from rankformer.model.encoder import PackedBatch
from rankformer.pretraining import pretrain as pretraining
from rankformer.pretraining.hyperparameters import PretrainingHyperparameters
from rankformer.pretraining.pretrain import continue_model, draw_model
from rankformer.pretraining.settings import PretrainingSettings
from rankformer.tokens.tokenize import tokenize_cells

SHAPE = {"n_layers": 2, "d_model": 32, "n_heads": 2, "d_ff": 64}
RECIPE = PretrainingHyperparameters(
    max_steps=8, batch_size=8, warmup_steps=2, learning_rate=5e-3, held_out_share=0.1,
    save_steps=4, evaluate_steps=4, log_steps=1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    """So that sums are taken in one order, and equal runs give equal bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def vocabulary():
    return small_vocabulary()


@pytest.fixture
def cells(vocabulary, tmp_path):
    """400 cells of two kinds, each with 60 genes of its own: there is something to learn."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 400)
    mean = np.full((400, 200), 0.05)
    mean[:, :60] = np.where(kind == 0, 0.6, 0.01)[:, None]
    mean[:, 60:120] = np.where(kind == 1, 0.6, 0.01)[:, None]
    adata = ad.AnnData(csr_matrix(rng.poisson(mean).astype(np.float32)))
    adata.var_names = list(vocabulary.symbols)
    adata.obs["donor"] = [f"donor{i % 5}" for i in range(400)]
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path)
    return path


def pretrain(sources, output, model, vocabulary=None, **settings):
    own = PretrainingSettings(**settings)
    return pretraining.pretrain(sources, output, model, vocabulary, own)


def draw(vocabulary, **shape):
    return draw_model(vocabulary, {**SHAPE, **shape}, seed=0)


def weights(folder):
    return load_file(folder / "model.safetensors")


def frequency_loss(cells, vocabulary, rows):
    """Cross-entropy of naming a gene of these cells by how often it is met, in nats."""
    tokenized = tokenize_cells(cells, vocabulary)
    tokens = np.concatenate([tokenized.cell(row)[1:-1] for row in rows])
    counts = np.bincount(tokens, minlength=vocabulary.size)
    return -np.log(counts[tokens] / counts.sum()).mean()


@pytest.mark.parametrize("objective", ["mlm", "mlm+contrastive"])
def test_it_learns_which_genes_go_together(cells, vocabulary, tmp_path, objective):
    hyperparameters = replace(RECIPE, max_steps=150, batch_size=16, objective=objective,
                     save_steps=150,
                     evaluate_steps=150)  # fmt: skip
    pretrain(
        [cells],
        tmp_path / "model",
        draw(vocabulary),
        vocabulary,
        hyperparameters=hyperparameters,
        device="cpu",
    )
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    last = [entry for entry in record["log"] if "eval_loss" in entry][-1]
    # The two kinds of cells make the genes of one kind twice as likely: ln 2 is there to be won.
    assert last["eval_loss"] < frequency_loss(cells, vocabulary, range(400)) - 0.4


def test_a_model_is_whole_and_opens_in_transformers(cells, vocabulary, tmp_path):
    output = tmp_path / "model"
    checkpoint = pretrain(
        [cells], output, draw(vocabulary), vocabulary, hyperparameters=RECIPE, device="cpu"
    )
    assert checkpoint.vocabulary.sha256 == vocabulary.sha256
    tokens = tokenize_cells(cells, vocabulary).cell(0)
    batch = PackedBatch.pack((tokens, np.array([0, len(tokens)])), 0, 1)
    own = batch.tokens_T[: len(tokens)]
    with torch.inference_mode():
        expected = BertForMaskedLM.from_pretrained(output).eval()(own[None]).logits[0]
        found = checkpoint.masked_language_model()(batch)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    card = (output / "README.md").read_text()
    for fact in (
        "cells.h5ad | 400 |",
        "360 cells were there to train on, 40 were",
        "The training took 8 steps",
    ):
        assert fact in card
    # Each checkpoint of the run is a whole model too.
    saved = sorted((tmp_path / "model.run").glob("checkpoint-*/model"))
    assert [folder.parent.name for folder in saved] == ["checkpoint-4", "checkpoint-8"]
    assert Checkpoint.open(saved[0]).encoder()
    for name, tensor in weights(saved[1]).items():
        assert torch.equal(tensor, weights(output)[name])


def test_equal_runs_give_equal_bits_and_the_seed_matters(cells, vocabulary, tmp_path):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pretrain([cells], tmp_path / name, draw(vocabulary), vocabulary,
                 hyperparameters=replace(RECIPE, seed=seed), device="cpu")  # fmt: skip
        found.append(weights(tmp_path / name)["bert.embeddings.word_embeddings.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_saved_tokens_train_as_their_counts_do(cells, vocabulary, tmp_path):
    tokens = tokenize_cells(cells, vocabulary).save(tmp_path / "tokens")
    for name, source in (("of-counts", cells), ("of-tokens", tokens)):
        pretrain([source], tmp_path / name, draw(vocabulary), vocabulary, hyperparameters=RECIPE,
                 device="cpu")  # fmt: skip
    for name, tensor in weights(tmp_path / "of-counts").items():
        assert torch.equal(tensor, weights(tmp_path / "of-tokens")[name])


def test_processes_that_make_batches_change_nothing(cells, vocabulary, tmp_path):
    for name, n_workers in (("none", 0), ("two", 2)):
        pretrain([cells], tmp_path / name, draw(vocabulary), vocabulary, hyperparameters=RECIPE,
                 device="cpu", n_workers=n_workers)  # fmt: skip
    for name, tensor in weights(tmp_path / "none").items():
        assert torch.equal(tensor, weights(tmp_path / "two")[name])


def test_donors_are_held_out_whole(cells, vocabulary, tmp_path):
    hyperparameters = replace(RECIPE, held_out_by="donor", held_out_share=0.2)
    pretrain(
        [cells],
        tmp_path / "model",
        draw(vocabulary),
        vocabulary,
        hyperparameters=hyperparameters,
        device="cpu",
    )
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert (record["cells_trained_on"], record["cells_held_out"]) == (320, 80)


def test_a_checkpoint_goes_on_with_more_genes(cells, vocabulary, tmp_path):
    few = small_vocabulary(n_genes=120)
    first = pretrain(
        [cells], tmp_path / "first", draw(few), few, hyperparameters=RECIPE, device="cpu"
    )
    assert "Begun from the module that was given" in (tmp_path / "first" / "README.md").read_text()
    model, grown = continue_model(first, vocabulary)
    assert {gene: grown.token_of[gene] for gene in few.ensembl_ids} == dict(few.token_of)
    assert set(grown.ensembl_ids) == set(vocabulary.ensembl_ids)
    second = pretrain([cells], tmp_path / "second", model, grown, hyperparameters=RECIPE,
                      device="cpu",
                      begun_from="first")  # fmt: skip
    assert second.vocabulary.sha256 == grown.sha256
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    name = "bert.embeddings.word_embeddings.weight"
    moved = (after[name][: few.size] - before[name]).abs().max()
    assert 0 < moved < 0.2  # it went on from there, and learned
    assert "Begun from first" in (tmp_path / "second" / "README.md").read_text()


def test_curves_are_there_for_tensorboard(cells, vocabulary, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pretrain(
        [cells],
        tmp_path / "model",
        draw(vocabulary),
        vocabulary,
        hyperparameters=RECIPE,
        device="cpu",
    )
    (events,) = (tmp_path / "model.run").rglob("events.out.tfevents.*")
    curves = EventAccumulator(str(events)).Reload()
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    for tag, key in (("train/loss", "loss"), ("eval/loss", "eval_loss")):
        expected = [entry[key] for entry in record["log"] if key in entry]
        found = [each.value for each in curves.Scalars(tag)]
        assert found == pytest.approx(expected, rel=1e-5)


# Killed, and resumed.


def command(cells, output, vocabulary_file, *more):
    arguments = [
        "pretrain", cells, "-o", output, "--vocabulary", vocabulary_file, "--layers", 2,
        "--width", 32, "--heads", 2, "--feed-forward", 64, "--max-steps", 30, "--batch-size", 8,
        "--warmup-steps", 3, "--save-steps", 4, "--evaluate-steps", 10, "--log-steps", 1,
        "--device", "cpu", "--threads", 1, "--objective", "mlm+contrastive", *more,
    ]  # fmt: skip
    return [sys.executable, "-m", "rankformer", *map(str, arguments)]


def kill_at_step(words, step):
    """Run, and kill the process as soon as it says that it is at this step."""
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith(f"Step {step} of"):
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "kills", [(13,), pytest.param((3, 11, 25), marks=pytest.mark.slow)], ids=str
)
def test_killed_and_resumed(cells, vocabulary, tmp_path, kills):
    """Kill -9 costs the steps since the last checkpoint, and changes not a bit of the result."""
    file = vocabulary.save(tmp_path / "vocabulary.parquet")
    subprocess.run(command(cells, tmp_path / "whole", file), check=True, capture_output=True)
    words = command(cells, tmp_path / "killed", file)
    for step in kills:
        kill_at_step(words, step)
        assert not (tmp_path / "killed").exists()
        words = command(cells, tmp_path / "killed", file, "--resume")
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "Step 1 of" not in done.stderr
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "killed")[name]), name
    logs = [json.loads((tmp_path / name / "training.json").read_text())["log"]
            for name in ("whole", "killed")]  # fmt: skip
    curves = [[entry["loss"] for entry in log if "loss" in entry] for log in logs]
    assert curves[0] == curves[1]


def test_a_training_that_took_its_last_step_takes_no_other_one(
    cells, vocabulary, tmp_path, monkeypatch, caplog
):
    """As if it had ended after its last checkpoint, before it was evaluated and written."""
    monkeypatch.chdir(tmp_path)
    settings = {"hyperparameters": replace(RECIPE, evaluate_steps=3), "device": "cpu"}
    pretrain([cells], tmp_path / "first", draw(vocabulary), vocabulary, **settings)
    shutil.copytree(tmp_path / "first.run", tmp_path / "again.run")
    caplog.set_level("INFO", "rankformer")
    pretrain([cells], tmp_path / "again", draw(vocabulary), vocabulary, resume=True, **settings)
    assert "All 8 steps of the training were taken before." in caplog.messages
    assert not [each for each in caplog.messages if "The training begins" in each]
    first, again = weights(tmp_path / "first"), weights(tmp_path / "again")
    assert all(torch.equal(first[name], again[name]) for name in first)
    logs = [
        json.loads((tmp_path / name / "training.json").read_text())["log"]
        for name in ("first", "again")
    ]
    evaluated = [[each["step"] for each in log if "eval_loss" in each] for log in logs]
    assert evaluated == [[3, 6, 8], [3, 6, 8]]
    # Curves for TensorBoard are written beside the checkpoints, and not where one happens to be.
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_cut_short_is_not_gone_on_from(cells, vocabulary, tmp_path):
    def train(**more):
        return pretrain([cells], tmp_path / "model", draw(vocabulary), vocabulary,
                        hyperparameters=replace(RECIPE, max_steps=12),
                        device="cpu", **more)  # fmt: skip

    train()
    expected = weights(tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / "before")
    cut = tmp_path / "model.run" / "checkpoint-12"
    (cut / "sha256.txt").unlink()
    (cut / "optimizer.pt").write_bytes(b"half")
    train(resume=True)
    for name, tensor in weights(tmp_path / "model").items():
        assert torch.equal(tensor, expected[name])


IN_STEPS = replace(RECIPE, max_steps=12, save_steps=4, evaluate_steps=12)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("optimizer.pt", "flipped"), ("scheduler.pt", "cut"), ("rng_state.pth", "cut"),
        ("optimizer.pt", "code"), ("rng_state.pth", "code"), ("trainer_state.json", "cut"),
        ("model.safetensors", "flipped"), ("model.safetensors", "cut"), ("scheduler.pt", "gone"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_offered(
    cells, vocabulary, tmp_path, name, damage
):
    def train(**more):
        return pretrain([cells], tmp_path / "model", draw(vocabulary), vocabulary,
                        hyperparameters=IN_STEPS, device="cpu", **more)  # fmt: skip

    train()
    shutil.rmtree(tmp_path / "model")
    file = tmp_path / "model.run" / "checkpoint-12" / name
    content = file.read_bytes()
    if damage == "code":
        torch.save({"state": Payload(os.system, f"touch {tmp_path / 'ran'}")}, file)
    elif damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_bytes(flip_byte(content, 0.5, 255))
    with pytest.raises(OutputError, match=f"{name} is damaged.*go on from checkpoint-8"):
        train(resume=True)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "model").exists()
    shutil.rmtree(file.parent)
    assert train(resume=True).folder == tmp_path / "model"


def test_a_training_that_is_stopped_says_how_to_go_on(cells, vocabulary, tmp_path, caplog):
    def stop(record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("Step 4"):
            raise KeyboardInterrupt
        return True

    def train(**more):
        return pretrain([cells], tmp_path / "model", draw(vocabulary), vocabulary,
                        hyperparameters=replace(IN_STEPS, log_steps=4),
                        device="cpu", **more)  # fmt: skip

    caplog.set_level("INFO", "rankformer")
    trainer_logger = logging.getLogger("rankformer.training.callbacks")
    trainer_logger.addFilter(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            train()
    finally:
        trainer_logger.removeFilter(stop)
    assert f"(--resume) to go on from what {tmp_path / 'model.run'} keeps" in caplog.text
    assert train(resume=True).folder == tmp_path / "model"


@pytest.mark.parametrize("coexpression", [False, True])
def test_what_changes_no_result_may_change_when_a_run_goes_on(
    cells, vocabulary, tmp_path, coexpression
):
    recipe = replace(IN_STEPS, coexpression=coexpression)

    def train(hyperparameters, **more):
        pretrain([cells], tmp_path / "model", draw(vocabulary), vocabulary,
                 hyperparameters=hyperparameters,
                 device="cpu", **more)  # fmt: skip
        return weights(tmp_path / "model")

    expected = train(recipe)
    shutil.rmtree(tmp_path / "model")
    shutil.rmtree(tmp_path / "model.run" / "checkpoint-12")
    found = train(replace(recipe, log_steps=3, save_steps=2), resume=True)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    log = json.loads((tmp_path / "model" / "training.json").read_text())["log"]
    assert [each["step"] for each in log if "loss" in each and each["step"] > 8] == [9, 12]
    # Two are kept.
    folders = {each.name for each in (tmp_path / "model.run").glob("checkpoint-*")}
    assert folders == {"checkpoint-10", "checkpoint-12"}


@pytest.mark.parametrize("held_out_share", [0.1, 0.0])
def test_a_training_that_runs_off_writes_no_model(cells, vocabulary, tmp_path, held_out_share):
    hyperparameters = replace(
        IN_STEPS, learning_rate=1e20, schedule="constant_with_warmup", held_out_share=held_out_share
    )
    with pytest.raises(SettingsError, match="the training has diverged"):
        pretrain([cells], tmp_path / "model", draw(vocabulary), vocabulary,
                 hyperparameters=hyperparameters,
                 device="cpu")  # fmt: skip
    assert not (tmp_path / "model").exists()


def test_the_contrast_counts_as_much_as_it_is_weighed(cells, vocabulary, tmp_path):
    """With twice the weight it moves the weights further from those of masking alone."""

    def train(weight):
        hyperparameters = replace(RECIPE, objective="mlm+contrastive", contrast_weight=weight)
        output = tmp_path / f"weight {weight}"
        pretrain(
            [cells],
            output,
            draw(vocabulary),
            vocabulary,
            hyperparameters=hyperparameters,
            device="cpu",
        )
        return weights(output)

    alone, light, heavy = (train(weight) for weight in (1e-9, 0.01, 10.0))

    def distance(model):
        return sum(float((model[name] - alone[name]).square().sum()) for name in alone)

    assert 0 < distance(light) < distance(heavy)


def test_a_run_goes_on_only_as_it_was_begun(cells, vocabulary, tmp_path):
    def train(hyperparameters=RECIPE, **more):
        return pretrain([cells], tmp_path / "model", draw(vocabulary), vocabulary,
                 hyperparameters=hyperparameters,
                        device="cpu", **more)  # fmt: skip

    with pytest.raises(OutputError, match="no run to resume"):
        train(resume=True)
    train()
    with pytest.raises(OutputError, match="exists already"):
        train()
    (tmp_path / "model").rename(tmp_path / "before")
    with pytest.raises(OutputError, match="A run was begun"):
        train()
    with pytest.raises(
        SettingsError, match=r"other settings: hyperparameters.learning_rate was 0.005, is 1.0\."
    ):
        train(replace(RECIPE, learning_rate=1.0), resume=True)


# Several processes.


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_train_as_one_that_adds_up_two_batches(cells, vocabulary, tmp_path):
    """Same draws, same masks, gradients averaged: equal but for rounding."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, torch\n"
        "from rankformer.pretraining.pretrain import draw_model, pretrain\n"
        "from rankformer import PretrainingHyperparameters, PretrainingSettings\n"
        "from rankformer.vocabulary.vocabulary import Vocabulary\n"
        "torch.set_num_threads(1)\n"
        "cells, file, output, accumulation = sys.argv[1:]\n"
        "vocabulary = Vocabulary.load(file)\n"
        "shape = dict(n_layers=2, d_model=32, n_heads=2, d_ff=64, dropout=0.0,\n"
        "             attention_dropout=0.0)\n"
        "own = PretrainingHyperparameters(max_steps=6, batch_size=4, warmup_steps=2, log_steps=1,\n"
        "                                 accumulation=int(accumulation), objective='mlm')\n"
        "pretrain([cells], output, draw_model(vocabulary, shape, 0), vocabulary,\n"
        "         PretrainingSettings(own, device='cpu'))\n"
    )
    file = vocabulary.save(tmp_path / "vocabulary.parquet")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
                "--standalone"]  # fmt: skip
    for name, launcher, accumulation in (("one", [sys.executable], 2), ("two", torchrun, 1)):
        words = [*launcher, script, cells, file, tmp_path / name, accumulation]
        done = subprocess.run(
            list(map(str, words)), capture_output=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"masked_share": 0}, "masked_share is 0"),
        ({"held_out_share": 1.5}, "held_out_share is 1.5"),
        ({"objective": "clm"}, "objective is 'clm'"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
    ],
    ids=str,
)
def test_recipes_that_there_are_not(change, sentence):
    with pytest.raises(SettingsError, match=sentence):
        PretrainingHyperparameters(**change)


def test_too_few_cells(vocabulary, tmp_path):
    adata = ad.AnnData(small_counts(5, 200))
    adata.var_names = list(vocabulary.symbols)
    with pytest.raises(SettingsError, match="There are 5 cells"):
        pretrain([adata], tmp_path / "model", draw(vocabulary), vocabulary, hyperparameters=RECIPE)
    assert not list(tmp_path.iterdir())


def test_views_cannot_be_longer_than_what_the_model_takes(cells, vocabulary, tmp_path):
    recipe = replace(RECIPE, objective="mlm+contrastive", shortest_view=65)
    assert vocabulary.input_length == 64
    with pytest.raises(SettingsError, match=r"shortest_view is 65.*takes 64 tokens"):
        pretraining.pretrain(
            cells, tmp_path / "out", draw_model(vocabulary, SHAPE, 0), vocabulary,
            PretrainingSettings(recipe),
        )  # fmt: skip
    assert not list(tmp_path.glob("out*"))


def test_options_of_the_contrast_that_take_no_part_are_told(cells, vocabulary, tmp_path, caplog):
    idle = {"contrast_weight": 0.7, "shortest_view": 8}

    def told(objective):
        caplog.clear()
        recipe = replace(RECIPE, objective=objective, max_steps=1, **idle)
        pretrain(
            cells, tmp_path / objective, draw(vocabulary), vocabulary, hyperparameters=recipe,
            device="cpu",
        )  # fmt: skip
        return [each.getMessage() for each in caplog.records if "no part" in each.getMessage()]

    (line,) = told("mlm")
    assert "contrast_weight (--contrast-weight) takes no part" in line
    assert "shortest_view (--shortest-view) takes no part" in line
    assert "thinnest_view" not in line
    assert told("mlm+contrastive") == []
