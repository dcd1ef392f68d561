"""``rankformer evaluate``."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankformer.cli.options import Overwrite
from rankformer.errors import SettingsError
from rankformer.settings import setting, settings
from rankformer.summary import Summary, Written
from rankformer.tokens.reading_options import CountOptions, ReadingOptions

if TYPE_CHECKING:
    from rankformer.finetuning.classifier_report import ClassifierEvaluation
METHODS = ("harmony", "scvi")


@settings()
class Evaluated:
    """What is evaluated: embeddings, predicted labels, or a fine-tuned model."""

    label: str = setting(text="The column of obs with the true labels of the cells.")
    keys: tuple[str, ...] = setting(
        common=True,
        default=(),
        options=("--key",),
        text="The name of an embedding in obsm to evaluate.",
    )
    predicted: str | None = setting(
        common=True,
        default=None,
        text="Evaluate labels that were predicted, in place of embeddings: the column of obs that "
        "holds them. Their probabilities are taken from NAME_probability where it is there.",
    )
    classifier: Path | None = setting(
        common=True,
        default=None,
        text="Evaluate a model that `rankformer finetune` made of this file, on the cells that it "
        "was not trained on.",
    )

    def expect_one(self, of_embeddings: Mapping[str, Any]) -> None:
        """Refuse none or several of the three, and options that the one chosen would not read.

        Raises
        ------
        SettingsError
            If it is so.
        """
        what = {
            "--key": self.keys, "--predicted": self.predicted, "--classifier": self.classifier
        }  # fmt: skip
        given = [name for name, value in what.items() if value]
        if len(given) != 1:
            told = f"{' and '.join(given)} were" if given else f"None of {', '.join(what)} was"
            raise SettingsError(
                f"{told} given.",
                "Embeddings in obsm (--key), predicted labels in obs (--predicted), or a "
                "fine-tuned model (--classifier).",
                "Name one of them; `rankformer inspect FILE` tells the columns of obs.",
            )
        unread = [name for name, value in of_embeddings.items() if value]
        if given != ["--key"] and unread:
            raise SettingsError(
                f"{given[0]} is to be evaluated, on which {' and '.join(unread)} has no bearing.",
                f"Options that are read with {given[0]}.",
                f"Leave {' and '.join(unread)} out.",
            )


@settings("How it is evaluated")
class How:
    """How embeddings or labels are evaluated."""

    batch: str | None = setting(
        common=True,
        default=None,
        text="The column of obs with batches, such as the laboratory: how well an embedding mixes "
        "them is measured.",
    )
    group: str | None = setting(
        common=True,
        default=None,
        text="A column of obs, such as donor: cells of one group are never both trained and tested "
        "on.",
    )
    beside: tuple[str, ...] = setting(
        default=(),
        text="A method of integration to compare with, where it is installed: harmony or scvi. It "
        "needs --batch.",
    )
    ignored: tuple[str, ...] = setting(
        default=(), options=("--ignore",),
        text="A label whose cells are left out, such as unassigned.",
    )  # fmt: skip
    baseline: bool = setting(
        default=True, options=("--baseline/--no-baseline",),
        text="With --predicted: compare with a logistic regression on the log counts.",
    )  # fmt: skip
    n_folds: int = setting(
        common=True, default=5, options=("--folds",),
        text="The number of parts that cells are split into; each is tested once by what is "
        "trained on the others.",
    )  # fmt: skip
    n_seeds: int = setting(
        default=5, options=("--seeds",),
        text="How often parts and clusters are drawn, each time with another seed.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        odd = [each for each in self.beside if each not in METHODS]
        if odd:
            raise SettingsError(
                f"The method {odd[0]!r} was asked for.",
                f"{' or '.join(METHODS)}.",
                "Correct --beside.",
            )


def evaluate(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .h5ad or .zarr with counts.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The folder for tables, figures and pictures."),
    ],
    what: Evaluated,
    how: How,
    counts: CountOptions,
    overwrite: Overwrite = False,
) -> Summary:
    """Measure how good embeddings or labels are, beside simple methods on the same cells.

    Name one of --key, for embeddings, --predicted, for labels, and --classifier, for a model.
    """
    from rankformer.results.output_checks import check_folder_target

    what.expect_one(
        {"--batch": how.batch, "--beside": how.beside, "--group": what.classifier and how.group}
    )
    check_folder_target(output, overwrite)
    common: dict[str, Any] = {
        "label": what.label, "ignored": how.ignored, "options": ReadingOptions(**vars(counts)),
    }  # fmt: skip
    same = {**common, "group": how.group, "n_folds": how.n_folds}
    if what.classifier is not None:
        return _evaluate_classifier(file, what.classifier, output, overwrite, **common)
    if what.keys:
        more = {"batch": how.batch, "beside": how.beside, "n_seeds": how.n_seeds}
        return _evaluate_embeddings(file, what.keys, output, overwrite, **same, **more)
    predicted = str(what.predicted)
    return _evaluate_predictions(file, predicted, output, overwrite, baseline=how.baseline, **same)


def _evaluate_embeddings(
    file: Path, keys: tuple[str, ...], output: Path, overwrite: bool, **settings: Any
) -> Summary:
    from rankformer.evaluate.embeddings import evaluate_embeddings
    from rankformer.show.evaluation_folder import write_embeddings
    from rankformer.show.evaluation_screen import embedding_tables, render_embeddings

    evaluation = evaluate_embeddings(file, keys, **settings)
    write_embeddings(output, evaluation, overwrite=overwrite)
    figures, tables = embedding_tables(evaluation)
    return Summary(
        (_written(output),), figures, tables, screen=partial(render_embeddings, evaluation)
    )


def _evaluate_predictions(
    file: Path, predicted: str, output: Path, overwrite: bool, **settings: Any
) -> Summary:
    from rankformer.evaluate.predictions import evaluate_predictions

    return _show_classifier(evaluate_predictions(file, predicted, **settings), output, overwrite)


def _evaluate_classifier(
    file: Path, model: Path, output: Path, overwrite: bool, **settings: Any
) -> Summary:
    from rankformer.evaluate.finetuned import evaluate_finetuned

    return _show_classifier(evaluate_finetuned(file, model, **settings), output, overwrite)


def _show_classifier(evaluation: "ClassifierEvaluation", output: Path, overwrite: bool) -> Summary:
    from rankformer.show.evaluation_folder import write_classifier
    from rankformer.show.evaluation_screen import classifier_tables, render_classifier

    write_classifier(output, evaluation, overwrite=overwrite)
    figures, tables = classifier_tables(evaluation)
    return Summary(
        (_written(output),), figures, tables, screen=partial(render_classifier, evaluation)
    )


def _written(output: Path) -> Written:
    return Written(output, "figures as JSON and CSV, and pictures")
