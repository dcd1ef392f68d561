"""How and where a model is pretrained."""

from rankformer.pretraining.hyperparameters import PretrainingHyperparameters
from rankformer.settings import setting, settings
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.training.settings import TrainingSetup


@settings()
class Trained:
    """With which hyperparameters, and on which cells, a model is trained."""

    hyperparameters: PretrainingHyperparameters | None = setting(
        default=None, options=None,
        text="Those of the published models of the vocabulary's generation unless they are given; "
        "see `PretrainingHyperparameters` and `settle_pretraining`.",
    )  # fmt: skip
    options: ReadingOptions | None = setting(
        default=None, options=None, text="Where counts and genes lie in the sources."
    )


@settings()
class PretrainingSettings(TrainingSetup, Trained):
    """How and where a model is pretrained."""

    begun_from: str | None = setting(
        default=None, options=None,
        text="For the model card: what the model was before, such as the name of a checkpoint.",
    )  # fmt: skip
    words: str = setting(
        default="", options=None, text="Paragraphs for the model card, on what the model is for."
    )
