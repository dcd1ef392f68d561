"""Hyperparameters of fine-tuning: those of the published package, and what may be changed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from rankformer.embed.settings import CellMode
from rankformer.errors import SettingsError
from rankformer.settings import setting, settings
from rankformer.training.hyperparameters import (
    Rule,
    TrainingHyperparameters,
    warmup_or_published,
    whole_epochs,
)

LORA_ALPHA = 16
_LEAST_PUBLISHED_WIDTH = 256
_STEPS_OF_SMALL_MODELS = 300
_PUBLISHED_EPOCHS = 3
_FINETUNING_WARMUP = 500
# Settings that a search decides.
SEARCHED = ("learning_rate", "weight_decay", "warmup_steps", "epochs")
# Of a search, as `transformers.Trainer` has them.
BACKENDS = ("optuna", "ray")


@settings("How the model is trained")
class FineTuningHyperparameters(TrainingHyperparameters):
    """Hyperparameters of fine-tuning; the defaults are those of the published package."""

    mode: CellMode = setting(
        default="cell",
        text="How a cell becomes a vector: the mean of its genes' vectors (cell), or the vector of "
        "the <cls> token, which V2 models have (cls).",
    )
    freeze_layers: int = setting(
        default=0,
        text="The number of layers, from the input on, whose weights stay as they are; -1 freezes "
        "all, so that only the classifier is trained.",
    )
    lora_rank: int | None = setting(
        default=None,
        text="Train small matrices of this rank that are added to the weights of the layers "
        "(LoRA), in place of the weights themselves.",
    )
    lora_alpha: int | None = setting(
        default=None,
        text="With --lora-rank: these matrices are scaled by alpha / rank. By default, 16.",
    )
    dropout: float = setting(
        default=0.02,
        text="The share of the numbers of a cell's vector that are set to zero before the "
        "classifier, in training only.",
    )
    class_weights: bool = setting(
        default=False, text="Give rare classes more weight in the loss, by their inverse frequency."
    )
    balanced_sampling: bool = setting(
        default=False, text="Draw cells so that each class of the first label comes equally often."
    )
    label_smoothing: float = setting(
        default=0.0, text="The share of each label that is spread over all classes, from 0 to 1."
    )
    patience: int | None = setting(
        default=None,
        text="Stop when this many evaluations in a row brought no better loss on the validation "
        "cells. The best model is kept in any case.",
    )
    epochs: float | None = setting(
        common=True,
        default=None,
        text="How often the training sees each cell. By default, three times, and more often for "
        "small models and few cells.",
    )
    learning_rate: float | None = setting(
        default=None,
        text="The highest learning rate, which is reached at the end of the warm-up. By default, "
        "5e-5, and 1e-3 for small models.",
    )
    save_steps: int | None = setting(
        default=None, options=None,
        text="The number of steps between two checkpoints; by default once in each epoch.",
    )  # fmt: skip
    evaluate_steps: int | None = setting(
        default=None,
        text="The number of steps between two evaluations, and between two checkpoints, from which "
        "--resume can go on; by default once in each epoch.",
    )

    _rules: ClassVar[Sequence[Rule]] = (
        *TrainingHyperparameters._rules,
        (
            "A whole number, at least 1.", lambda value: value >= 1,
            ("lora_rank", "lora_alpha", "patience"),
        ),
        ("A whole number, at least -1.", lambda value: value >= -1, ("freeze_layers",)),
        (
            "A share, at least 0 and below 1.", lambda value: 0 <= value < 1,
            ("dropout", "label_smoothing"),
        ),
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("cell", "cls"):
            raise SettingsError(
                f"The mode is {self.mode!r}.",
                '"cell" or "cls".',
                "Correct mode (--mode).",
            )
        if self.lora_rank is None and self.lora_alpha is not None:
            raise SettingsError(
                f"lora_alpha is {self.lora_alpha}, and no lora_rank was given.",
                "A rank of the differences that it scales.",
                "Add lora_rank (--lora-rank), or leave lora_alpha (--lora-alpha) out.",
            )
        if self.lora_rank is not None and self.freeze_layers:
            raise SettingsError(
                "LoRA and frozen layers were asked for together.",
                "One of the two: LoRA leaves all weights as they are and trains differences.",
                "Leave out lora_rank (--lora-rank) or freeze_layers (--freeze-layers).",
            )


def settle_finetuning(
    hyperparameters: FineTuningHyperparameters, d_model: int, n_cells: int
) -> FineTuningHyperparameters:
    """Fill in the epochs and the learning rate that fit, where they were not given.

    Models of the published sizes (256 dimensions and more) take the published three epochs at a
    peak rate of 5e-5. Smaller ones learn too little by that: they take a rate of 1e-3, and as many
    whole epochs as give 300 steps, at least 2 and at most 10 (`benchmarks/finetuning.py`).
    And the warm-up takes the published 500 steps, at most a tenth of all: few cells have fewer.

    Parameters
    ----------
    hyperparameters
        As it was asked for.
    d_model
        Width of the model.
    n_cells
        Cells that are trained on.
    """
    steps_an_epoch = -(-n_cells // (hyperparameters.batch_size * hyperparameters.accumulation))
    is_small = d_model < _LEAST_PUBLISHED_WIDTH
    fitting = whole_epochs(_STEPS_OF_SMALL_MODELS, steps_an_epoch, 2)
    epochs = hyperparameters.epochs or (fitting if is_small else float(_PUBLISHED_EPOCHS))
    rate = hyperparameters.learning_rate or (1e-3 if is_small else 5e-5)
    warmup = warmup_or_published(hyperparameters, _FINETUNING_WARMUP, epochs, steps_an_epoch)
    return replace(hyperparameters, epochs=epochs, learning_rate=rate, warmup_steps=warmup)
