"""Hyperparameters of fine-tuning: those of the published package, and what may be changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rankformer.errors import SettingsError
from rankformer.training.hyperparameters import (
    Rule,
    TrainingRecipe,
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


@dataclass(frozen=True)
class FineTuningRecipe(TrainingRecipe):
    """Settings of a fine-tuning run; the defaults are those of the published package.

    Those of any run are described in `TrainingRecipe`.

    Attributes
    ----------
    epochs, learning_rate, warmup_steps
        None takes what fits the model's size and the number of cells; see `settle_recipe`.
    pooling
        How a cell becomes a vector: ``"cell"``, the mean of its genes, or ``"cls"`` (V2 models).
    freeze_layers
        The first so many layers, and the embeddings below them, keep their weights; -1 for all of
        them, so that only heads are trained.
    lora_rank
        Train differences of this rank in place of the weights of the layers (LoRA: Hu et al.,
        ICLR 2022); they are added to the weights when the model is saved. None trains the weights.
    lora_alpha
        The differences are scaled by ``lora_alpha / lora_rank``; 16 unless given.
    dropout
        Of vectors before the heads.
    class_weights
        Weigh each class by the inverse of its frequency in the loss.
    balanced_sampling
        Draw cells so that each class of the first label comes equally often.
    label_smoothing
        Share of each label that is spread over all classes.
    patience
        End after so many evaluations without a better loss on the validation part; None to train to
        the end. The best model is kept either way.
    """

    epochs: float | None = None
    learning_rate: float | None = None
    save_steps: int | None = None
    evaluate_steps: int | None = None
    pooling: Literal["cell", "cls"] = "cell"
    freeze_layers: int = 0
    lora_rank: int | None = None
    lora_alpha: int | None = None
    dropout: float = 0.02
    class_weights: bool = False
    balanced_sampling: bool = False
    label_smoothing: float = 0.0
    patience: int | None = None

    _rules: ClassVar[Sequence[Rule]] = (
        *TrainingRecipe._rules,
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
        if self.pooling not in ("cell", "cls"):
            raise SettingsError(
                f"The pooling is {self.pooling!r}.",
                '"cell" or "cls".',
                "Correct pooling (--pooling).",
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


def settle_recipe(recipe: FineTuningRecipe, d_model: int, n_cells: int) -> FineTuningRecipe:
    """A recipe with the epochs and the rate that fit, where they were not given.

    Models of the published sizes (256 dimensions and more) take the published three epochs at a
    peak rate of 5e-5. Smaller ones learn too little by that: they take a rate of 1e-3, and as many
    whole epochs as give 300 steps, at least 2 and at most 10 (`benchmarks/finetuning.py`).
    And the warm-up takes the published 500 steps, at most a tenth of all: few cells have fewer.

    Parameters
    ----------
    recipe
        As it was asked for.
    d_model
        Width of the model.
    n_cells
        Cells that are trained on.
    """
    steps_an_epoch = -(-n_cells // (recipe.batch_size * recipe.accumulation))
    is_small = d_model < _LEAST_PUBLISHED_WIDTH
    fitting = whole_epochs(_STEPS_OF_SMALL_MODELS, steps_an_epoch, 2)
    epochs = recipe.epochs or (fitting if is_small else float(_PUBLISHED_EPOCHS))
    rate = recipe.learning_rate or (1e-3 if is_small else 5e-5)
    warmup = warmup_or_published(recipe, _FINETUNING_WARMUP, epochs, steps_an_epoch)
    return replace(recipe, epochs=epochs, learning_rate=rate, warmup_steps=warmup)
