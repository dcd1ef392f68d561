"""Hyperparameters of pretraining: those of the published models, and what may be changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rankformer.errors import SettingsError
from rankformer.pretraining.batches import THINNEST_VIEW
from rankformer.pretraining.loss import CONTRAST_WEIGHT
from rankformer.tokens.masking import MASKED_SHARE
from rankformer.training.hyperparameters import (
    Rule,
    TrainingRecipe,
    warmup_or_published,
    whole_epochs,
)
from rankformer.vocabulary.vocabulary import Vocabulary

Objective = Literal["mlm", "mlm+contrastive"]
_STEPS_OF_PRETRAINING = 1000
_PUBLISHED_EPOCHS = 3
_V1_WARMUP, _V2_WARMUP = 10_000, 5_000


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
    fitting = whole_epochs(_STEPS_OF_PRETRAINING, steps_an_epoch, _PUBLISHED_EPOCHS)
    epochs = recipe.epochs or fitting
    published = _V1_WARMUP if vocabulary.cls_token is None else _V2_WARMUP
    warmup = warmup_or_published(recipe, published, epochs, steps_an_epoch)
    return replace(recipe, epochs=epochs, warmup_steps=warmup)
