"""How labelled cells are shared out for training, validation and test."""

from rankformer.errors import SettingsError
from rankformer.settings import setting, settings


@settings("What the model is tested on")
class SplitPlan:
    """How labelled cells, or genes, are split."""

    validation_share: float = setting(
        default=0.1,
        text="The share of the cells that decide when to stop and that calibrate probabilities.",
    )
    test_share: float = setting(
        common=True,
        default=0.1,
        text="The share of the cells that the finished model is tested on, and for nothing else.",
    )
    n_folds: int | None = setting(
        common=True, default=None, options=("--folds",),
        text="Cross-validate: train one model for each of this many folds, so that each cell is "
        "tested once, in place of --test-share.",
    )  # fmt: skip
    seed: int = setting(default=0, text="The seed that decides which cells go where.")

    def __post_init__(self) -> None:
        shares = self.validation_share, self.test_share
        if not (shares[0] > 0 and shares[1] >= 0 and sum(shares) < 1):
            raise SettingsError(
                f"The shares to validate and to test on are {shares[0]} and {shares[1]}.",
                "A share above 0 for validation, one of 0 and more for the test, together below 1.",
                "Correct validation_share (--validation-share) or test_share (--test-share).",
            )
        if self.n_folds is not None and self.n_folds < 2:
            raise SettingsError(
                f"{self.n_folds} fold(s) were asked for.",
                "At least two, so that each has others to train on.",
                "Correct n_folds (--folds).",
            )
