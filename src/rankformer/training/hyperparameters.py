"""Hyperparameters that any training has, and the course of a run that follows from them."""

import logging
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, get_args

from rankformer.errors import SettingsError
from rankformer.settings import setting, settings

logger = logging.getLogger(__name__)
_MOST_EPOCHS = 10
Schedule = Literal["linear", "cosine", "constant_with_warmup"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
Rule = tuple[str, Callable[[float], bool], tuple[str, ...]]
"""What is expected, whether a value is so, and the settings that it holds for."""


@settings("How the model is trained")
class TrainingHyperparameters:
    """Hyperparameters of any training."""

    epochs: float | None = setting(
        common=True,
        default=3.0,
        text="How often the training sees each cell. By default, it follows from the number of "
        "cells.",
    )
    max_steps: int | None = setting(
        default=None, text="The number of training steps, in place of --epochs."
    )
    batch_size: int = setting(
        common=True,
        default=12,
        text="The number of cells in a batch. With several GPUs, each has such a batch.",
    )
    accumulation: int = setting(
        default=1,
        text="The number of batches that make one training step (gradient accumulation).",
    )
    learning_rate: float | None = setting(
        default=1e-3, text="The highest learning rate, which is reached at the end of the warm-up."
    )
    schedule: Schedule = setting(
        default="linear", text="How the learning rate falls after the warm-up."
    )
    warmup_steps: int | None = setting(
        default=None,
        text="The number of steps in which the learning rate rises from zero. By default, the "
        "number of the published models, but at most a tenth of all steps.",
    )
    weight_decay: float = setting(default=0.001, text="The weight decay of the optimizer, AdamW.")
    max_grad_norm: float = setting(
        default=1.0, options=None, text="The norm to which gradients are clipped."
    )
    save_steps: int | None = setting(
        default=1000,
        text="The number of steps between two checkpoints, from which --resume can go on. None "
        "stands for once in each epoch.",
    )
    evaluate_steps: int | None = setting(
        default=1000,
        text="The number of steps between two evaluations on held-out cells. None stands for once "
        "in each epoch.",
    )
    log_steps: int = setting(
        default=100, text="The number of steps between two lines of the training log."
    )
    recompute: bool = setting(
        default=False,
        text="Take less memory and about a third more time: activations are computed again in the "
        "backward pass (gradient checkpointing).",
    )
    seed: int = setting(
        default=0, text="The seed of all that is drawn at random; the same seed repeats a run."
    )

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


def tell_what_was_settled(
    asked: TrainingHyperparameters, settled: TrainingHyperparameters, trained: str
) -> None:
    """Say in the log what was taken for what is trained, where it is not what was asked for."""
    decisive = ("learning_rate", "warmup_steps")
    changed = [
        f"{name} {getattr(settled, name):,g}"
        for name in (decisive if settled.max_steps is not None else ("epochs", *decisive))
        if getattr(settled, name) != getattr(asked, name)
    ]
    if changed:
        told = ", ".join(changed).replace("_", " ")
        logger.info("Set to fit %s, as not given otherwise: %s.", trained, told)


def whole_epochs(n_steps: int, steps_an_epoch: int, fewest: int) -> float:
    """As many as give so many steps, within bounds."""
    return float(min(max(-(-n_steps // max(steps_an_epoch, 1)), fewest), _MOST_EPOCHS))


def warmup_or_published(
    hyperparameters: TrainingHyperparameters, published: int, epochs: float, steps_an_epoch: int
) -> int:
    """The warm-up that was asked for; else the published, or a tenth of the steps where less."""
    if hyperparameters.warmup_steps is not None:
        return hyperparameters.warmup_steps
    n_steps = hyperparameters.max_steps or int(epochs * steps_an_epoch)
    return min(published, max(n_steps // 10, 1))
