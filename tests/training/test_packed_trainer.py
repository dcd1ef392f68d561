"""Which cells are drawn in which order, and a recipe in the words of the Trainer."""

import logging
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState

from rankformer.errors import OutputError, SettingsError
from rankformer.finetuning.hyperparameters import FineTuningHyperparameters
from rankformer.training import callbacks
from rankformer.training.callbacks import JudgeLastStep, LogProgress, ShowSteps, WriteCheckpoints
from rankformer.training.hyperparameters import TrainingHyperparameters
from rankformer.training.packed_trainer import (
    Draws,
    PackedTrainer,
    begin_run,
    expect_finite,
    expect_finite_weights,
    training_arguments,
)
from rankformer.training.run_folder import TrainingRun, bind_checkpoint

CPU = torch.device("cpu")
RECIPE = TrainingHyperparameters(
    epochs=2.5, max_steps=7, batch_size=3, accumulation=2, learning_rate=0.03, schedule="cosine",
    warmup_steps=4, weight_decay=0.2, max_grad_norm=0.7, save_steps=11, evaluate_steps=13,
    log_steps=17, seed=19,
)  # fmt: skip


def arguments_of(folder, hyperparameters=RECIPE, **settings):
    defaults = {"device": CPU, "dtype": torch.float32, "evaluates": True}
    return training_arguments(hyperparameters, folder, **{**defaults, **settings})


def test_each_setting_of_a_recipe_reaches_the_trainer(tmp_path):
    found = arguments_of(tmp_path, n_workers=2)
    expected = {
        "output_dir": str(tmp_path), "num_train_epochs": 2.5, "max_steps": 7,
        "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "learning_rate": 0.03,
        "lr_scheduler_type": "cosine", "warmup_steps": 4, "weight_decay": 0.2,
        "max_grad_norm": 0.7, "save_steps": 11, "eval_steps": 13, "logging_steps": 17, "seed": 19,
        "save_strategy": "steps", "eval_strategy": "steps", "logging_strategy": "steps",
        "save_total_limit": 2, "load_best_model_at_end": False, "disable_tqdm": True,
        "remove_unused_columns": False, "dataloader_num_workers": 2, "bf16": False, "fp16": False,
        "use_cpu": True, "dataloader_pin_memory": False, "report_to": ["tensorboard"],
        "ddp_backend": None, "ddp_find_unused_parameters": False, "logging_nan_inf_filter": False,
        "optim": "adamw_torch_fused",
    }  # fmt: skip
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.n_gpu <= 1


def test_on_a_gpu_the_host_waits_for_no_copy(tmp_path):
    found = arguments_of(tmp_path, device=torch.device("cuda"))
    assert found.dataloader_pin_memory
    assert found.accelerator_config.non_blocking
    assert not arguments_of(tmp_path).accelerator_config.non_blocking


def test_without_steps_each_epoch_ends_with_an_evaluation_and_a_checkpoint(tmp_path):
    hyperparameters = replace(RECIPE, max_steps=None, save_steps=None, evaluate_steps=None)
    found = arguments_of(tmp_path, hyperparameters)
    assert found.max_steps == -1
    assert (found.eval_strategy, found.save_strategy) == ("epoch", "epoch")


def test_nothing_held_out_and_nothing_kept(tmp_path):
    found = arguments_of(tmp_path, evaluates=False, saves=False)
    assert (found.eval_strategy, found.save_strategy, found.report_to) == ("no", "no", [])


def test_the_best_is_that_of_least_loss(tmp_path):
    found = arguments_of(tmp_path, replace(RECIPE, evaluate_steps=11), keeps_best=True)
    assert found.load_best_model_at_end
    assert (found.metric_for_best_model, found.greater_is_better) == ("loss", False)
    assert found.restore_callback_states_from_checkpoint


def test_products_of_bfloat16_are_asked_for(tmp_path):
    assert arguments_of(tmp_path, dtype=torch.bfloat16).bf16


# Draws.


def test_an_epoch_draws_each_row_once_and_the_next_in_another_order():
    draws = Draws(np.array([2, 3, 5, 8, 9]), n_cells=10, seed=1)
    epochs = []
    for epoch in range(3):
        draws.set_epoch(epoch)
        found = np.array(list(draws))
        assert (found // 10 == epoch).all()
        assert sorted(found % 10) == [2, 3, 5, 8, 9]
        assert found.tolist() == list(draws)
        epochs.append(tuple(found % 10))
    assert len(draws) == 5
    assert len(set(epochs)) > 1


def test_cells_are_drawn_in_proportion_to_their_chances():
    chances = np.array([1.0, 0.0, 3.0])
    draws = Draws(np.array([4, 6, 7]), n_cells=10, seed=0, chances=chances)
    found = Counter()
    orders = set()
    for epoch in range(4000):
        draws.set_epoch(epoch)
        rows = [draw - 10 * epoch for draw in draws]
        assert len(rows) == 3
        found.update(rows)
        orders.add(tuple(rows))
    assert set(found) == {4, 7}
    # Four standard errors of a share of 12,000.
    assert found[7] / found.total() == pytest.approx(0.75, abs=0.016)
    assert len(orders) == 8


def test_the_seed_decides_what_is_drawn():
    rows, chances = np.arange(30), np.arange(30.0)
    for own in (None, chances):
        first, same, other = (list(Draws(rows, 30, seed, own)) for seed in (0, 0, 1))
        assert first == same != other


# Training a line through points: small enough to be followed by hand.


class Line(nn.Module):
    """y = w x, with the squared error as loss."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x, y):
        return {"loss": ((self.w * x - y) ** 2).mean()}


X = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
PLAIN = FineTuningHyperparameters(
    epochs=1.0, batch_size=2, learning_rate=0.1, schedule="constant_with_warmup", warmup_steps=0,
    weight_decay=0.0, log_steps=1,
)  # fmt: skip


def trainer_of(folder, hyperparameters=PLAIN, measure=None, callbacks=(), seen=None, **options):
    def make_batch(draws):
        rows = torch.tensor(draws) % len(X)
        if seen is not None:
            seen.append(rows.tolist())
        return {"x": X[rows], "y": 3 * X[rows]}

    settings = {"evaluates": measure is not None, "saves": False, **options.pop("arguments", {})}
    return PackedTrainer(
        Line(), arguments_of(folder, hyperparameters, **settings),
        draws=Draws(np.arange(len(X)), len(X), hyperparameters.seed), make_batch=make_batch,
        measure=measure, callbacks=callbacks, **options,
    )  # fmt: skip


@pytest.mark.parametrize(("drop_last", "sizes"), [(True, [2, 2, 2]), (False, [2, 2, 2, 1])])
def test_batches_of_an_epoch(tmp_path, drop_last, sizes):
    seen = []
    trainer_of(tmp_path, seen=seen, drop_last=drop_last).train_from(None)
    assert [len(each) for each in seen] == sizes
    rows = [row for each in seen for row in each]
    assert rows == list(Draws(np.arange(7), 7, PLAIN.seed))[: len(rows)]


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_a_step_is_that_of_adamw_with_clipped_gradients(tmp_path, weight_decay):
    hyperparameters = replace(PLAIN, max_steps=3, weight_decay=weight_decay, max_grad_norm=1e-3)
    seen = []
    trainer = trainer_of(tmp_path, hyperparameters, seen=seen)
    trainer.train_from(None)
    line = Line()
    adam = torch.optim.AdamW(line.parameters(), lr=0.1, weight_decay=weight_decay)
    for rows in seen[:3]:
        adam.zero_grad()
        line(X[rows], 3 * X[rows])["loss"].backward()
        nn.utils.clip_grad_norm_(line.parameters(), 1e-3)
        adam.step()
    assert trainer.model.w.item() == pytest.approx(line.w.item(), rel=1e-5)


def test_figures_of_what_is_held_out_are_kept_and_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, "rankformer")
    measured = []

    def measure(module):
        measured.append(module.w.item())
        return {"loss": 0.5, "macro_f1": 0.25}

    hyperparameters = replace(PLAIN, max_steps=3, evaluate_steps=2)
    trainer = trainer_of(tmp_path, hyperparameters, measure, [JudgeLastStep()])
    trainer.train_from(None)
    judged = [each for each in trainer.state.log_history if "eval_loss" in each]
    assert [(each["step"], each["eval_macro_f1"]) for each in judged] == [(2, 0.25), (3, 0.25)]
    assert measured[-1] == trainer.model.w.item()
    trainer.evaluate_at_the_end()
    assert len(measured) == 2
    assert "Step 3, on held-out cells: loss 0.5000, macro-F1 0.2500" in caplog.text
    assert "Step 3 of 3: loss" in caplog.text
    figures = trainer.evaluate()
    assert (figures["eval_loss"], figures["eval_macro_f1"]) == (0.5, 0.25)


@pytest.mark.parametrize("strategy", ["steps", "epoch", "no"])
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("step", [6, 7, 8])
def test_the_last_step_is_judged_and_kept_where_that_goes_by_steps(strategy, asked, step):
    """What another callback asked for stays asked for."""
    arguments = SimpleNamespace(eval_strategy=strategy, save_strategy=strategy)
    control = TrainerControl(should_evaluate=asked, should_save=asked)
    state = TrainerState(global_step=step, max_steps=7)
    JudgeLastStep().on_step_end(arguments, state, control)
    expected = asked or (strategy == "steps" and step >= 7)
    assert (control.should_evaluate, control.should_save) == (expected, expected)


def test_steps_are_counted_from_where_a_run_goes_on(monkeypatch):
    shown, done = [], []

    @contextmanager
    def record(*arguments, **settings):
        shown.append((arguments, settings))
        yield done.append

    monkeypatch.setattr(callbacks, "show_progress", record)
    state = TrainerState(global_step=4, max_steps=9, is_world_process_zero=True)
    with ExitStack() as stack:
        steps = ShowSteps(stack)
        steps.on_train_begin(None, state, None)
        steps.on_step_end(None, state, None)
    assert shown == [((9, "Training"), {"unit": "steps", "n_before": 4})]
    assert done == [1]


def test_rate_and_time_left_are_those_since_this_run_began(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "rankformer")
    now = [50.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    log = LogProgress()
    log.on_train_begin(None, TrainerState(global_step=10, max_steps=1040), None)
    now[0] += 5
    log.on_log(None, TrainerState(global_step=20, max_steps=1040), None, {"loss": 0.25})
    assert caplog.messages == [
        "The training begins, and ends with step 1,040.",
        "Step 20 of 1,040: loss 0.2500, 2.00 steps/s, 510 s left",
    ]


def test_the_schedule_may_be_longer_than_the_training_and_the_optimizer_another(tmp_path):
    hyperparameters = replace(PLAIN, max_steps=3, schedule="linear")
    optimizer = (torch.optim.SGD, {"lr": 0.1})
    trainer = trainer_of(
        tmp_path, hyperparameters, schedule_steps=6, optimizer_cls_and_kwargs=optimizer
    )
    trainer.train_from(None)
    rates = [each["learning_rate"] for each in trainer.state.log_history if "loss" in each]
    np.testing.assert_allclose(rates, [0.1 * (6 - step) / 6 for step in range(3)])
    assert isinstance(getattr(trainer.optimizer, "optimizer", trainer.optimizer), torch.optim.SGD)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_diverged(value):
    assert expect_finite(1.5) == 1.5
    told = f"^The loss on what is held out is {value}: the training has diverged"
    with pytest.raises(SettingsError, match=told):
        expect_finite(value)
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    expect_finite_weights(module)
    with torch.no_grad():
        module[1].bias[1] = value
    told = "^The weights hold NaN or infinite values: the training has diverged"
    with pytest.raises(SettingsError, match=told) as raised:
        expect_finite_weights(module)
    assert raised.value.expected == "Finite losses and weights."
    assert raised.value.fix.startswith(
        "Lower learning_rate (--learning-rate), and remove the run's"
    )


def test_without_a_length_or_a_rate_no_trainer_is_made(tmp_path):
    for name in ("epochs", "learning_rate", "warmup_steps"):
        with pytest.raises(SettingsError, match="Epochs, learning rate or warm-up are not set"):
            arguments_of(tmp_path, replace(RECIPE, **{name: None}))


def test_what_was_not_judged_is_judged_at_the_end(tmp_path):
    measured = []

    def measure(module):
        measured.append(module.w.item())
        return {"loss": 0.5}

    settings = {"evaluates": False}
    trainer = trainer_of(tmp_path, replace(PLAIN, max_steps=3), measure, arguments=settings)
    trainer.train_from(None)
    assert not measured
    for _ in range(2):
        trainer.evaluate_at_the_end()
        assert measured == [trainer.model.w.item()]


def test_callbacks_are_given_what_was_measured(tmp_path):
    given = []

    class Listener(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **_):
            given.append((args.output_dir, state.global_step, metrics["eval_loss"]))

    trainer = trainer_of(tmp_path, PLAIN, lambda module: {"loss": 0.5}, [Listener()])
    trainer.evaluate()
    assert given == [(str(tmp_path), 0, 0.5)]


def test_without_anything_held_out_nothing_is_measured(tmp_path):
    trainer = trainer_of(tmp_path, replace(PLAIN, max_steps=2))
    trainer.train_from(None)
    assert trainer.evaluate() == {}
    assert not [each for each in trainer.state.log_history if "eval_loss" in each]


def test_a_checkpoint_has_the_model_of_its_step_and_the_last_step_is_kept(tmp_path):
    written = {}
    hyperparameters = replace(PLAIN, max_steps=3, save_steps=2)
    callbacks = [JudgeLastStep()]
    trainer = trainer_of(tmp_path, hyperparameters, callbacks=callbacks, arguments={"saves": True})
    trainer.add_callback(
        WriteCheckpoints(
            lambda folder, log: written.update(
                {folder: (trainer.model.w.item(), [each["step"] for each in log])}
            )
        )
    )
    trainer.train_from(None)
    assert list(written) == [tmp_path / f"checkpoint-{step}" / "model" for step in (2, 3)]
    assert written[tmp_path / "checkpoint-3" / "model"][0] == trainer.model.w.item()
    assert written[tmp_path / "checkpoint-2" / "model"][1] == [1, 2]


def test_going_on_gives_what_an_unbroken_run_gives(tmp_path):
    hyperparameters = replace(PLAIN, epochs=2.0, max_steps=5, save_steps=2, schedule="linear")
    whole = trainer_of(tmp_path / "whole", hyperparameters, arguments={"saves": True})
    whole.train_from(None)
    again = trainer_of(tmp_path / "again", hyperparameters, arguments={"saves": True})
    again.train_from(tmp_path / "whole" / "checkpoint-4")
    assert again.state.global_step == 5
    assert again.model.w.item() == whole.model.w.item()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_that_would_run_code_is_named_and_nothing_runs(tmp_path, name):
    hyperparameters = replace(PLAIN, epochs=2.0, max_steps=5, save_steps=1)
    trainer_of(tmp_path, hyperparameters, arguments={"saves": True}).train_from(None)
    torch.save({"state": Payload(tmp_path / "ran")}, tmp_path / "checkpoint-5" / name)
    again = trainer_of(tmp_path, replace(hyperparameters, max_steps=6), arguments={"saves": True})
    with pytest.raises(OutputError, match=rf"checkpoint-5/{name} is damaged") as error:
        again.train_from(tmp_path / "checkpoint-5")
    assert "checkpoint-4" in error.value.fix
    assert not (tmp_path / "ran").exists()


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_a_run_is_begun_once_and_gone_on_with_from_its_last_checkpoint(tmp_path):
    run = TrainingRun(tmp_path / "model")
    arguments = arguments_of(run.folder)
    settings = {"hyperparameters": {"seed": 1}}
    assert begin_run(run, arguments, settings, resume=False) is None
    assert run.settings() == settings
    with pytest.raises(OutputError, match="A run was begun"):
        begin_run(run, arguments, settings, resume=False)
    assert begin_run(run, arguments, settings, resume=True) is None
    for step in (2, 10):
        folder = run.folder / f"checkpoint-{step}"
        folder.mkdir()
        bind_checkpoint(folder)
    assert begin_run(run, arguments, settings, resume=True) == run.folder / "checkpoint-10"
    with pytest.raises(SettingsError, match="seed was 1, is 2"):
        begin_run(run, arguments, {"hyperparameters": {"seed": 2}}, resume=True)


def test_of_several_processes_the_others_wait_for_the_first(tmp_path, monkeypatch):
    """They make no folder, and find what the first has made or checked."""
    run = TrainingRun(tmp_path / "model")
    arguments = arguments_of(run.folder)
    begin_run(run, arguments, {"seed": 1}, resume=False)
    folder = run.folder / "checkpoint-4"
    folder.mkdir()
    bind_checkpoint(folder)
    monkeypatch.setattr(type(arguments), "process_index", 1)
    assert begin_run(run, arguments, {"seed": 1}, resume=False) is None
    assert begin_run(run, arguments, {"seed": 1}, resume=True) == folder
