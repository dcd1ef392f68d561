"""Hyperparameters of pretraining: those of the published models, and what may be changed."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from rankformer.errors import SettingsError
from rankformer.settings import setting, settings
from rankformer.training.hyperparameters import (
    Rule,
    TrainingHyperparameters,
    warmup_or_published,
    whole_epochs,
)

if TYPE_CHECKING:
    from rankformer.vocabulary.vocabulary import Vocabulary

logger = logging.getLogger(__name__)
WHAT_IS_TRAINED = "What is trained"
Objective = Literal["mlm", "mlm+contrastive"]
_STEPS_OF_PRETRAINING = 1000
_PUBLISHED_EPOCHS = 3
_OF_THE_CONTRAST = ("contrast_weight", "thinnest_view", "shortest_view")
_V1_WARMUP, _V2_WARMUP = 10_000, 5_000


@settings("How the model is trained (by default as the published models)")
class PretrainingHyperparameters(TrainingHyperparameters):
    """Hyperparameters of pretraining; the defaults are those of the published V1 models."""

    epochs: float | None = setting(
        common=True,
        default=None,
        text="How often the training sees each cell. By default, three times, or for few cells as "
        "often as makes 1,000 steps, at most 10 times.",
    )
    objective: Objective = setting(
        common=True,
        default="mlm",
        text="What the model learns: mlm, to name genes that were masked, as published; or "
        "mlm+contrastive. With the latter it also learns to place two random halves of a cell's "
        "molecules close together, which makes embeddings of cells that serve better without "
        "fine-tuning.",
    )
    contrast_weight: float = setting(
        default=0.3,
        text="With --objective mlm+contrastive: the weight of the contrastive part of the loss.",
    )
    thinnest_view: float = setting(
        default=0.3,
        text="With --objective mlm+contrastive: the minimum share of a cell's molecules, at most "
        "0.5, that one of its two parts gets. A smaller share makes parts of more unequal depth.",
    )
    shortest_view: int | None = setting(
        default=None,
        text="With --objective mlm+contrastive: end the parts of each batch after so many genes or "
        "more, as drawn at random up to what the model takes. Training is then faster, and cells "
        "of which more or fewer genes were found are placed alike. Parts are whole unless given.",
    )
    masked_share: float = setting(
        default=0.15, text="The share of a cell's genes that are masked, to be named."
    )
    held_out_share: float = setting(
        default=0.02, text="The share of the cells that are not trained on but evaluated."
    )
    held_out_by: str | None = setting(
        default=None,
        text="A column of obs, such as donor: whole groups of it are held out, as cells of one "
        "donor resemble each other.",
    )
    coexpression: bool = setting(
        default=False, panel=WHAT_IS_TRAINED,
        text="With --vocabulary: initialise the vectors of genes from their co-expression in the "
        "cells, in place of random numbers, so that the model begins as a linear method. A quarter "
        "of the width is kept for naming masked genes; it begins with each gene's median, by which "
        "ranks are made.",
    )  # fmt: skip

    _rules: ClassVar[Sequence[Rule]] = (
        *TrainingHyperparameters._rules,
        ("A number above 0.", lambda value: value > 0, ("contrast_weight", "masked_share")),
        ("A share above 0, at most 0.5.", lambda value: 0 < value <= 0.5, ("thinnest_view",)),
        ("1 gene or more.", lambda value: value is None or value >= 1, ("shortest_view",)),
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


def published_hyperparameters(vocabulary: "Vocabulary") -> PretrainingHyperparameters:
    """The hyperparameters of the published models that frame cells as `vocabulary` does.

    V1: Theodoris et al., Nature 618, 616 (2023). V2: Chen et al., bioRxiv 2024.08.16.608180. Both
    were trained on 8 to 12 processes, whose batches add up.
    """
    if vocabulary.cls_token is None:
        return PretrainingHyperparameters()
    return PretrainingHyperparameters(batch_size=4, learning_rate=5e-4, schedule="cosine")


def settle_pretraining(
    hyperparameters: PretrainingHyperparameters,
    vocabulary: "Vocabulary",
    n_cells: int,
    n_processes: int = 1,
) -> PretrainingHyperparameters:
    """Fill in the epochs and the warm-up that fit, where they were not given.

    The published models saw tens of millions of cells three times, after 10,000 (V1) or 5,000 (V2)
    steps of warm-up. Where three epochs are fewer than 1,000 steps, as many are taken as give
    these, at most 10, and the warm-up is at most a tenth of the steps
    (`benchmarks/small_model_recipe.py`).

    Parameters
    ----------
    hyperparameters
        As it was asked for.
    vocabulary
        Of the model: frames cells as V1 or V2 models do.
    n_cells
        Cells that are trained on.
    n_processes
        Among which each step's cells are shared out.
    """
    steps_an_epoch = n_cells // (
        hyperparameters.batch_size * hyperparameters.accumulation * n_processes
    )
    fitting = whole_epochs(_STEPS_OF_PRETRAINING, steps_an_epoch, _PUBLISHED_EPOCHS)
    epochs = hyperparameters.epochs or fitting
    published = _V1_WARMUP if vocabulary.cls_token is None else _V2_WARMUP
    warmup = warmup_or_published(hyperparameters, published, epochs, steps_an_epoch)
    return replace(hyperparameters, epochs=epochs, warmup_steps=warmup)


def tell_what_takes_no_part(hyperparameters: PretrainingHyperparameters) -> None:
    """Warn of options of the contrast where no cells are compared."""
    if hyperparameters.objective == "mlm+contrastive":
        return
    usual = PretrainingHyperparameters()
    idle = [
        name for name in _OF_THE_CONTRAST if getattr(hyperparameters, name) != getattr(usual, name)
    ]
    if idle:
        logger.warning(
            "%s: the objective mlm compares no cells. Choose the objective mlm+contrastive "
            "(--objective mlm+contrastive), or leave this out.",
            ", ".join(f"{name} (--{name.replace('_', '-')}) takes no part" for name in idle),
        )


def check_views(hyperparameters: PretrainingHyperparameters, vocabulary: "Vocabulary") -> None:
    """End in a `SettingsError` where the shortest view is longer than what the model takes."""
    shortest, most = hyperparameters.shortest_view, vocabulary.input_length
    if shortest is not None and shortest > most:
        raise SettingsError(
            f"shortest_view is {shortest:,}, and the model takes {most:,} tokens of a cell.",
            f"From 1 to {most:,} genes.",
            "Correct shortest_view (--shortest-view).",
        )
