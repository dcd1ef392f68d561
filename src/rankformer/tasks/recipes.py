"""How a model is trained: the published recipes, and what may be changed in them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rankformer.data.masking import MASKED_SHARE
from rankformer.errors import SettingsError
from rankformer.model.objective import CONTRAST_WEIGHT
from rankformer.tasks.pretraining_batches import THINNEST_VIEW
from rankformer.vocabulary import Vocabulary

logger = logging.getLogger(__name__)
Objective = Literal["mlm", "mlm+contrastive"]
LORA_ALPHA = 16
_LEAST_PUBLISHED_WIDTH = 256
_STEPS_OF_SMALL_MODELS = 300
_STEPS_OF_PRETRAINING = 1000
_PUBLISHED_EPOCHS = 3
_V1_WARMUP, _V2_WARMUP, _FINETUNING_WARMUP = 10_000, 5_000, 500
_MOST_EPOCHS = 10
# Settings that a search decides.
SEARCHED = ("learning_rate", "weight_decay", "warmup_steps", "epochs")
# Of a search, as `transformers.Trainer` has them.
BACKENDS = ("optuna", "ray")
SCHEDULES = ("linear", "cosine", "constant_with_warmup")
Rule = tuple[str, Callable[[float], bool], tuple[str, ...]]
"""What is expected, whether a value is so, and the settings that it holds for."""


@dataclass(frozen=True)
class TrainingRecipe:
    """Settings of any training run.

    Attributes
    ----------
    epochs, max_steps
        How long to train; `max_steps`, where given, decides.
    batch_size, accumulation
        Cells a step and process, and steps whose gradients are added up.
    learning_rate, schedule, warmup_steps
        Peak of the rate, its course after the warm-up (``"linear"``, ``"cosine"``,
        ``"constant_with_warmup"``), and steps of the warm-up.
    weight_decay, max_grad_norm
        Of AdamW, and the norm to which gradients are clipped.
    save_steps, evaluate_steps, log_steps
        Steps between checkpoints, evaluations, and lines of the log; None for once an epoch.
    recompute
        Compute activations again in the backward pass rather than keep them: less memory, more
        time.
    seed
        Of everything that is drawn.
    """

    epochs: float | None = 3.0
    max_steps: int | None = None
    batch_size: int = 12
    accumulation: int = 1
    learning_rate: float | None = 1e-3
    schedule: str = "linear"
    warmup_steps: int | None = None
    weight_decay: float = 0.001
    max_grad_norm: float = 1.0
    save_steps: int | None = 1000
    evaluate_steps: int | None = 1000
    log_steps: int = 100
    recompute: bool = False
    seed: int = 0

    _rules: ClassVar[Sequence[Rule]] = (
        (
            "A whole number, at least 1.", lambda value: value >= 1,
            ("max_steps", "batch_size", "accumulation", "save_steps", "evaluate_steps",
             "log_steps"),
        ),
        (
            "A number, at least 0.", lambda value: value >= 0,
            ("warmup_steps", "weight_decay", "seed"),
        ),
        (
            "A number above 0.", lambda value: value > 0,
            ("epochs", "learning_rate", "max_grad_norm"),
        ),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise SettingsError(
                f"The schedule is {self.schedule!r}.",
                f"One of {', '.join(SCHEDULES)}.",
                "Correct schedule (--schedule).",
            )
        for expected, is_right, names in self._rules:
            self._expect(names, expected, is_right)

    def _expect(
        self, names: tuple[str, ...], expected: str, is_right: Callable[[float], bool]
    ) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not is_right(value):
                raise SettingsError(
                    f"{name} is {value}.", expected, f"Correct {name} (--{name.replace('_', '-')})."
                )


@dataclass(frozen=True)
class Recipe(TrainingRecipe):
    """Settings of a pretraining run; the defaults are those of the published V1 models.

    Those of any run are described in `TrainingRecipe`.

    Attributes
    ----------
    epochs, warmup_steps
        None takes what fits the number of cells; see `settle_pretraining`.
    objective
        ``"mlm"``: masked genes, as published. ``"mlm+contrastive"``: also views of one cell drawn
        together, meant for embeddings of cells that are used without labels.
    contrast_weight
        Weight of the second term.
    thinnest_view
        The least share of a cell's molecules that one of its two views gets, at most a half: the
        share is drawn anew for each cell. Less makes views of more unlike depth.
    masked_share
        Chance of each gene to be masked.
    held_out_share, held_out_by
        Share of the cells that are not trained on but evaluated; where a column of obs is named,
        whole groups of it (donors) are held out.
    coexpression
        Begin the vectors of genes of a new model from their co-expression in the cells to train on,
        not at random.
    """

    epochs: float | None = None
    objective: Objective = "mlm"
    contrast_weight: float = CONTRAST_WEIGHT
    thinnest_view: float = THINNEST_VIEW
    masked_share: float = MASKED_SHARE
    held_out_share: float = 0.02
    held_out_by: str | None = None
    coexpression: bool = False

    _rules: ClassVar[Sequence[Rule]] = (
        *TrainingRecipe._rules,
        ("A number above 0.", lambda value: value > 0, ("contrast_weight", "masked_share")),
        ("A share above 0, at most 0.5.", lambda value: 0 < value <= 0.5, ("thinnest_view",)),
        (
            "A share, at least 0 and below 1.", lambda value: 0 <= value < 1,
            ("masked_share", "held_out_share"),
        ),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.objective not in ("mlm", "mlm+contrastive"):
            raise SettingsError(
                f"The objective is {self.objective!r}.",
                '"mlm" or "mlm+contrastive".',
                "Correct objective (--objective).",
            )
        super().__post_init__()


def published_recipe(vocabulary: Vocabulary) -> Recipe:
    """The recipe of the published models that frame cells as `vocabulary` does.

    V1: Theodoris et al., Nature 618, 616 (2023). V2: Chen et al., bioRxiv 2024.08.16.608180. Both
    were trained on 8 to 12 processes, whose batches add up.
    """
    if vocabulary.cls_token is None:
        return Recipe()
    return Recipe(batch_size=4, learning_rate=5e-4, schedule="cosine")


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
    fitting = _whole_epochs(_STEPS_OF_SMALL_MODELS, steps_an_epoch, 2)
    epochs = recipe.epochs or (fitting if is_small else float(_PUBLISHED_EPOCHS))
    rate = recipe.learning_rate or (1e-3 if is_small else 5e-5)
    warmup = _warmup(recipe, _FINETUNING_WARMUP, epochs, steps_an_epoch)
    return replace(recipe, epochs=epochs, learning_rate=rate, warmup_steps=warmup)


def settle_pretraining(
    recipe: Recipe, vocabulary: Vocabulary, n_cells: int, n_processes: int = 1
) -> Recipe:
    """A recipe with the epochs and the warm-up that fit, where they were not given.

    The published models saw tens of millions of cells three times, after 10,000 (V1) or 5,000 (V2)
    steps of warm-up. Where three epochs are fewer than 1,000 steps, as many are taken as give
    these, at most 10, and the warm-up is at most a tenth of the steps
    (`benchmarks/small_model_recipe.py`).

    Parameters
    ----------
    recipe
        As it was asked for.
    vocabulary
        Of the model: frames cells as V1 or V2 models do.
    n_cells
        Cells that are trained on.
    n_processes
        Among which each step's cells are shared out.
    """
    steps_an_epoch = n_cells // (recipe.batch_size * recipe.accumulation * n_processes)
    fitting = _whole_epochs(_STEPS_OF_PRETRAINING, steps_an_epoch, _PUBLISHED_EPOCHS)
    epochs = recipe.epochs or fitting
    published = _V1_WARMUP if vocabulary.cls_token is None else _V2_WARMUP
    warmup = _warmup(recipe, published, epochs, steps_an_epoch)
    return replace(recipe, epochs=epochs, warmup_steps=warmup)


def tell_what_was_settled(asked: TrainingRecipe, settled: TrainingRecipe, trained: str) -> None:
    """Say in the log what was taken for what is trained, where it is not what was asked for."""
    decisive = ("learning_rate", "warmup_steps")
    changed = [
        f"{name} {getattr(settled, name):,g}"
        for name in (decisive if settled.max_steps is not None else ("epochs", *decisive))
        if getattr(settled, name) != getattr(asked, name)
    ]
    if changed:
        told = ", ".join(changed).replace("_", " ")
        logger.info("For %s, the recipe takes %s.", trained, told)


def _whole_epochs(n_steps: int, steps_an_epoch: int, fewest: int) -> float:
    """As many as give so many steps, within bounds."""
    return float(min(max(-(-n_steps // max(steps_an_epoch, 1)), fewest), _MOST_EPOCHS))


def _warmup(recipe: TrainingRecipe, published: int, epochs: float, steps_an_epoch: int) -> int:
    """The warm-up that was asked for; else the published, or a tenth of the steps where less."""
    if recipe.warmup_steps is not None:
        return recipe.warmup_steps
    n_steps = recipe.max_steps or int(epochs * steps_an_epoch)
    return min(published, max(n_steps // 10, 1))
