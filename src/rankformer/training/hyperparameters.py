"""Hyperparameters that any training has, and the course of a run that follows from them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rankformer.errors import SettingsError

logger = logging.getLogger(__name__)
_MOST_EPOCHS = 10
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


def whole_epochs(n_steps: int, steps_an_epoch: int, fewest: int) -> float:
    """As many as give so many steps, within bounds."""
    return float(min(max(-(-n_steps // max(steps_an_epoch, 1)), fewest), _MOST_EPOCHS))


def warmup_or_published(
    recipe: TrainingRecipe, published: int, epochs: float, steps_an_epoch: int
) -> int:
    """The warm-up that was asked for; else the published, or a tenth of the steps where less."""
    if recipe.warmup_steps is not None:
        return recipe.warmup_steps
    n_steps = recipe.max_steps or int(epochs * steps_an_epoch)
    return min(published, max(n_steps // 10, 1))
