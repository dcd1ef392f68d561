"""How a model is pretrained: the published recipes, and what may be changed in them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rankformer.data.masking import MASKED_SHARE
from rankformer.errors import SettingsError
from rankformer.model.objective import CONTRAST_WEIGHT
from rankformer.tasks.pretraining_batches import THINNEST_VIEW
from rankformer.vocabulary import Vocabulary

Objective = Literal["mlm", "mlm+contrastive"]
_AT_LEAST_ONE = (
    "max_steps", "batch_size", "accumulation", "save_steps", "evaluate_steps", "log_steps",
)  # fmt: skip
_AT_LEAST_ZERO = ("warmup_steps", "weight_decay", "seed")
_ABOVE_ZERO = ("epochs", "learning_rate", "max_grad_norm", "contrast_weight", "masked_share")
_SHARES = ("masked_share", "held_out_share")
_AT_MOST_HALF = ("thinnest_view",)


@dataclass(frozen=True)
class Recipe:
    """Settings of a pretraining run; the defaults are those of the published V1 models.

    Attributes
    ----------
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
    epochs, max_steps
        How long to train; `max_steps`, where given, decides.
    batch_size, accumulation
        Cells a step and process, and steps whose gradients are added up.
    learning_rate, schedule, warmup_steps
        Peak of the rate, its course after the warm-up (``"linear"``, ``"cosine"``,
        ``"constant_with_warmup"``), and steps of the warm-up.
    weight_decay, max_grad_norm
        Of AdamW, and the norm to which gradients are clipped.
    held_out_share, held_out_by
        Share of the cells that are not trained on but evaluated; where a column of obs is named,
        whole groups of it (donors) are held out.
    save_steps, evaluate_steps, log_steps
        Steps between checkpoints, evaluations, and lines of the log.
    recompute
        Compute activations again in the backward pass rather than keep them: less memory, more
        time.
    coexpression
        Begin the vectors of genes of a new model from their co-expression in the cells to train on,
        not at random.
    seed
        Of order, masks and views.
    """

    objective: Objective = "mlm"
    contrast_weight: float = CONTRAST_WEIGHT
    thinnest_view: float = THINNEST_VIEW
    masked_share: float = MASKED_SHARE
    epochs: float = 3.0
    max_steps: int | None = None
    batch_size: int = 12
    accumulation: int = 1
    learning_rate: float = 1e-3
    schedule: str = "linear"
    warmup_steps: int = 10_000
    weight_decay: float = 0.001
    max_grad_norm: float = 1.0
    held_out_share: float = 0.02
    held_out_by: str | None = None
    save_steps: int = 1000
    evaluate_steps: int = 1000
    log_steps: int = 100
    recompute: bool = False
    coexpression: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in ("mlm", "mlm+contrastive"):
            raise SettingsError(
                f"The objective is {self.objective!r}.",
                '"mlm" or "mlm+contrastive".',
                "Correct objective (--objective).",
            )
        self._expect(_AT_LEAST_ONE, "A whole number, at least 1.", lambda value: value >= 1)
        self._expect(_AT_LEAST_ZERO, "A number, at least 0.", lambda value: value >= 0)
        self._expect(_ABOVE_ZERO, "A number above 0.", lambda value: value > 0)
        self._expect(_AT_MOST_HALF, "A share above 0, at most 0.5.", lambda value: 0 < value <= 0.5)
        self._expect(_SHARES, "A share, at least 0 and below 1.", lambda value: 0 <= value < 1)

    def _expect(
        self, names: tuple[str, ...], expected: str, is_right: Callable[[float], bool]
    ) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not is_right(value):
                raise SettingsError(
                    f"{name} is {value}.", expected, f"Correct {name} (--{name.replace('_', '-')})."
                )


def published_recipe(vocabulary: Vocabulary) -> Recipe:
    """The recipe of the published models that frame cells as `vocabulary` does.

    V1: Theodoris et al., Nature 618, 616 (2023). V2: Chen et al., bioRxiv 2024.08.16.608180. Both
    were trained on 8 to 12 processes, whose batches add up.
    """
    if vocabulary.cls_token is None:
        return Recipe()
    return Recipe(batch_size=4, learning_rate=5e-4, schedule="cosine", warmup_steps=5_000)
