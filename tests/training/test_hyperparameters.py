"""Hyperparameters: those that were published, and the bounds of each setting."""

import logging
from dataclasses import fields, replace

import pytest
from tests.conftest import small_vocabulary

from rankformer.errors import SettingsError
from rankformer.finetuning.hyperparameters import FineTuningHyperparameters, settle_finetuning
from rankformer.pretraining.hyperparameters import (
    PretrainingHyperparameters,
    published_hyperparameters,
    settle_pretraining,
)
from rankformer.training.hyperparameters import TrainingHyperparameters, tell_what_was_settled

# The least and the most that a setting takes, and values beyond.
WHOLE_FROM_1 = ([1, 10**6], [0, -1])
FROM_0 = ([0, 0.5], [-1e-9, -1])
ABOVE_0 = ([1e-9, 5.0], [0, -0.1])
SHARE = ([0, 0.999], [-0.01, 1, 1.5])
BOUNDS = {
    TrainingHyperparameters: {
        "max_steps": WHOLE_FROM_1, "batch_size": WHOLE_FROM_1, "accumulation": WHOLE_FROM_1,
        "save_steps": WHOLE_FROM_1, "evaluate_steps": WHOLE_FROM_1, "log_steps": WHOLE_FROM_1,
        "warmup_steps": FROM_0, "weight_decay": FROM_0, "seed": FROM_0,
        "epochs": ABOVE_0, "learning_rate": ABOVE_0, "max_grad_norm": ABOVE_0,
        "schedule": (["linear", "cosine", "constant_with_warmup"], ["constant", "Linear"]),
    },
    PretrainingHyperparameters: {
        "objective": (["mlm", "mlm+contrastive"], ["contrastive"]),
        "contrast_weight": ABOVE_0, "thinnest_view": ([1e-9, 0.5], [0, 0.51]),
        "shortest_view": ([None, 1, 500], [0, -1]),
        "masked_share": ([1e-9, 0.999], [0, 1]), "held_out_share": SHARE,
    },
    FineTuningHyperparameters: {
        "mode": (["cell", "cls"], ["mean"]),
        "freeze_layers": ([-1, 0, 5], [-2]), "lora_rank": WHOLE_FROM_1, "patience": WHOLE_FROM_1,
        "dropout": SHARE, "label_smoothing": SHARE,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "value", "is_right"),
    [
        (kind, name, value, is_right)
        for of_kind, bounds in BOUNDS.items()
        for name, (right, wrong) in bounds.items()
        for is_right, values in ((True, right), (False, wrong))
        for value in values
        for kind in (BOUNDS if of_kind is TrainingHyperparameters else (of_kind,))
    ],
)
def test_settings_within_bounds_and_beyond(kind, name, value, is_right):
    if is_right:
        assert getattr(kind(**{name: value}), name) == value
        return
    with pytest.raises(SettingsError) as error:
        kind(**{name: value})
    option = "--" + name.replace("_", "-")
    assert repr(value) in error.value.found
    assert name in error.value.fix
    assert error.value.expected
    assert option in error.value.fix


def test_the_rank_of_lora_goes_with_its_scale_and_with_no_frozen_layers():
    assert FineTuningHyperparameters(lora_rank=4, lora_alpha=8).lora_alpha == 8
    for wrong in (
        {"lora_alpha": 8},
        {"lora_rank": 4, "freeze_layers": 1},
        {"lora_rank": 4, "lora_alpha": 0},
    ):
        with pytest.raises(SettingsError, match=r"lora|LoRA"):
            FineTuningHyperparameters(**wrong)


def test_published_recipes():
    """As their papers have them: batches of 12, with a linear fall from 1e-3; V2 of 4."""
    first = published_hyperparameters(small_vocabulary(special=False))
    assert (first.batch_size, first.learning_rate) == (12, 1e-3)
    assert (first.schedule, first.max_grad_norm) == ("linear", 1.0)
    second = published_hyperparameters(small_vocabulary())
    assert (second.batch_size, second.learning_rate) == (4, 5e-4)
    assert second.schedule == "cosine"
    both = ("weight_decay", "masked_share", "objective")
    assert all(getattr(first, name) == getattr(second, name) for name in both)
    assert (first.weight_decay, first.masked_share, first.objective) == (0.001, 0.15, "mlm")


def test_every_number_of_a_recipe_has_bounds():
    checked = {name for bounds in BOUNDS.values() for name in bounds} | {"lora_alpha"}
    for kind in BOUNDS:
        for each in fields(kind):
            if isinstance(each.default, int | float) and not isinstance(each.default, bool):
                assert each.name in checked


def test_the_published_corpora_have_the_published_epochs_and_warm_up():
    """29.9 million cells on 12 GPUs, and 103 million on 8."""
    for special, n_cells, n_processes, warmup in (
        (False, 29_900_000, 12, 10_000), (True, 103_000_000, 8, 5_000),
    ):  # fmt: skip
        vocabulary = small_vocabulary(special=special)
        published = published_hyperparameters(vocabulary)
        settled = settle_pretraining(published, vocabulary, n_cells, n_processes)
        assert settled == replace(published, epochs=3, warmup_steps=warmup)


@pytest.mark.parametrize(
    ("n_cells", "n_processes", "given", "epochs", "warmup"),
    [
        (837, 1, {}, 10, 69),  # 69 batches an epoch: even ten do not give 1,000 steps
        (1_500, 1, {}, 8, 100),  # 125 an epoch
        (4_000, 1, {}, 4, 133),  # 333 an epoch: three give 999
        (4_012, 1, {}, 3, 100),  # 334 an epoch
        (4_012, 2, {}, 6, 100),
        (4_012, 1, {"batch_size": 6, "accumulation": 4}, 6, 100),
        (4_012, 1, {"epochs": 1.0}, 1, 33),
        (4_012, 1, {"max_steps": 50}, 3, 5),
        (4_012, 1, {"warmup_steps": 7}, 3, 7),
        (4_012, 1, {"warmup_steps": 900}, 3, 900),
        (4_012, 1, {"warmup_steps": 0}, 3, 0),
        (5, 1, {"max_steps": 3}, 10, 1),
    ],
)
def test_pretraining_on_few_cells_takes_more_epochs_and_a_warm_up_that_ends(
    n_cells, n_processes, given, epochs, warmup
):
    vocabulary = small_vocabulary(special=False)
    settled = settle_pretraining(
        PretrainingHyperparameters(**given), vocabulary, n_cells, n_processes
    )
    assert (settled.epochs, settled.warmup_steps) == (epochs, warmup)
    assert settled == replace(
        PretrainingHyperparameters(**given), epochs=epochs, warmup_steps=warmup
    )


def test_what_was_settled_is_told_and_nothing_where_all_was_asked_for(caplog):
    caplog.set_level(logging.INFO, "rankformer")
    asked = FineTuningHyperparameters(learning_rate=2e-4)
    settled = settle_finetuning(asked, 128, 684)
    tell_what_was_settled(asked, settled, "684 cells")
    assert caplog.messages == [
        "Set to fit 684 cells, as not given otherwise: epochs 6, warmup steps 34."
    ]
    tell_what_was_settled(settled, settled, "684 cells")
    assert len(caplog.messages) == 1
    in_steps = replace(settled, max_steps=30)
    tell_what_was_settled(replace(in_steps, epochs=None), in_steps, "these")
    assert len(caplog.messages) == 1
    tell_what_was_settled(FineTuningHyperparameters(epochs=2.0), settled, "these")
    assert caplog.messages[1].endswith("epochs 6, learning rate 0.0002, warmup steps 34.")


@pytest.mark.parametrize(
    ("d_model", "n_cells", "given", "expected"),
    [
        # 684 cells are 57 batches of 12: six epochs are the fewest that give 300 steps.
        (128, 684, {}, (6, 1e-3, 34)),
        (128, 30, {}, (10, 1e-3, 3)),
        (128, 100_000, {}, (2, 1e-3, 500)),
        (256, 684, {}, (3, 5e-5, 17)),
        (512, 100_000, {}, (3, 5e-5, 500)),
        (128, 684, {"epochs": 1.0, "learning_rate": 2e-4}, (1, 2e-4, 5)),
        (128, 684, {"max_steps": 50, "warmup_steps": 2}, (6, 1e-3, 2)),
        (128, 684, {"warmup_steps": 200}, (6, 1e-3, 200)),
        (128, 684, {"batch_size": 6, "accumulation": 2}, (6, 1e-3, 34)),
    ],
)
def test_what_was_not_asked_for_fits_model_and_cells(d_model, n_cells, given, expected):
    settled = settle_finetuning(FineTuningHyperparameters(**given), d_model, n_cells)
    assert (settled.epochs, settled.learning_rate, settled.warmup_steps) == expected
    assert settle_finetuning(settled, d_model, n_cells) == settled
