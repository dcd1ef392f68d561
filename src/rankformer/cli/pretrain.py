"""``rankformer pretrain``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankformer.cli.command import Changes
from rankformer.cli.next_steps import step
from rankformer.cli.options import Threads, limit_threads
from rankformer.cli.reading import Reading
from rankformer.errors import SettingsError
from rankformer.pretraining.hyperparameters import (
    WHAT_IS_TRAINED,
    PretrainingHyperparameters,
    published_hyperparameters,
)
from rankformer.pretraining.settings import PretrainingSettings
from rankformer.settings import setting, settings
from rankformer.summary import Summary, Written
from rankformer.tokens.reading_options import InputFiles
from rankformer.training.settings import TrainingSetup

if TYPE_CHECKING:
    from rankformer.model.encoder import MaskedLanguageModel
    from rankformer.vocabulary.vocabulary import Vocabulary


@settings(WHAT_IS_TRAINED)
class Start:
    """Where the training begins: with a new model, or with a checkpoint."""

    vocabulary: Path | None = setting(
        common=True,
        default=None,
        text="Train a new model on the genes of this file, which `rankformer vocabulary build` "
        "made.",
    )
    preset: str | None = setting(
        common=True,
        default=None,
        text="With --vocabulary: give the model the shape of this published one, such as "
        "gf-6L-30M-i2048.",
    )
    layers: int | None = setting(default=None, text="With --vocabulary: the number of layers.")
    width: int | None = setting(
        default=None, text="With --vocabulary: the length of the vectors between the layers."
    )
    heads: int | None = setting(
        default=None, text="With --vocabulary: the number of attention heads of a layer."
    )
    feed_forward: int | None = setting(
        default=None, text="With --vocabulary: the width of the feed-forward part of a layer."
    )
    model: str | None = setting(
        common=True, default=None, text="Go on with the training of this model: a name or a folder."
    )
    more_genes: Path | None = setting(
        default=None,
        text="With --model: a vocabulary file whose genes are added to those of the model.",
    )

    @property
    def shape(self) -> dict[str, int | None]:
        """What was given of the shape of a new model."""
        return {
            "n_layers": self.layers, "d_model": self.width, "n_heads": self.heads,
            "d_ff": self.feed_forward,
        }  # fmt: skip

    def open(self, *, seed: int, coexpression: bool) -> "tuple[MaskedLanguageModel, Vocabulary]":
        """The model to train, and its vocabulary.

        Raises
        ------
        SettingsError
            If what was given is for both ways to begin, or for neither.
        """
        if self.model is None:
            if self.more_genes is not None:
                raise SettingsError(
                    "--more-genes was given without --model.",
                    "A checkpoint whose vocabulary grows by these genes.",
                    "Add --model, or pass all genes as --vocabulary to train from scratch.",
                )
            return self._draw_model(seed)
        if coexpression:
            raise SettingsError(
                "--coexpression was given with --model.",
                "A new model: in a checkpoint it would replace what its genes' vectors have "
                "learned.",
                "Leave --coexpression out.",
            )
        return self._continue_model(self.model)

    def _draw_model(self, seed: int) -> "tuple[MaskedLanguageModel, Vocabulary]":
        from rankformer.pretraining.pretrain import draw_model, published_shape
        from rankformer.vocabulary.vocabulary import Vocabulary

        if self.vocabulary is None:
            raise SettingsError(
                "Neither a vocabulary nor a model was given.",
                "--vocabulary FILE to train from scratch, or --model to go on from a checkpoint.",
                "Make a vocabulary first: `rankformer vocabulary build FILE… -o "
                "vocabulary.parquet`.",
            )
        given = {name: value for name, value in self.shape.items() if value is not None}
        if self.preset is None and len(given) < len(self.shape):
            raise SettingsError(
                "The shape of the model is not whole: "
                f"{', '.join(name for name in self.shape if name not in given)} not given.",
                "--preset NAME, or all of --layers, --width, --heads and --feed-forward.",
                "Try --preset gf-6L-30M-i2048, the smallest that was published.",
            )
        genes = Vocabulary.load(self.vocabulary)
        published = published_shape(self.preset) if self.preset else {}
        return draw_model(genes, {**published, **given}, seed), genes

    def _continue_model(self, model: str) -> "tuple[MaskedLanguageModel, Vocabulary]":
        from rankformer.checkpoints.checkpoint import Checkpoint
        from rankformer.pretraining.pretrain import continue_model
        from rankformer.vocabulary.vocabulary import Vocabulary

        of_new_models = (self.vocabulary, self.preset, *self.shape.values())
        if any(each is not None for each in of_new_models):
            raise SettingsError(
                "Both --model and a vocabulary or shape to train from scratch were given.",
                "One of the two: a checkpoint brings its own vocabulary and shape.",
                "Leave out --model, or --vocabulary, --preset, --layers, --width, --heads and "
                "--feed-forward. To add genes to a checkpoint, pass --more-genes.",
            )
        more = Vocabulary.load(self.more_genes) if self.more_genes else None
        return continue_model(Checkpoint.open(model), more)


def pretrain(
    inputs: InputFiles,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder of the model that is written.")
    ],
    start: Start,
    changes: Annotated[dict[str, Any], Changes(PretrainingHyperparameters)],
    setup: TrainingSetup,
    reading: Reading,
    threads: Threads = None,
) -> Summary:
    """Train a model on cells without labels: a new one, or a published one further.

    The model learns to name genes that were masked in a cell. To train on several GPUs, start the
    command with torchrun.
    """
    from rankformer.pretraining.pretrain import pretrain as train
    from rankformer.training.model_card import last_figures

    network, genes = start.open(
        seed=changes.get("seed", 0), coexpression=changes.get("coexpression", False)
    )
    limit_threads(threads)
    settings = PretrainingSettings(
        hyperparameters=replace(published_hyperparameters(genes), **changes),
        options=reading.open(threads=threads), begun_from=start.model or "random weights",
        **vars(setup),
    )  # fmt: skip
    train(list(inputs.sources), output, network, genes, settings)
    embedded = output.with_name(f"{output.name}-embedded.h5ad")
    words = ("embed", *inputs.sources, "-o", embedded, "--model", output)
    return Summary(
        (Written(output, f"the model, with {len(genes.ensembl_ids):,} genes, and a card"),),
        {"n_genes": len(genes.ensembl_ids), **last_figures(output)},
        next_steps=(step("Embed cells with it", *words),),
    )
