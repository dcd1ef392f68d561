"""``rankformer evaluate``."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankformer.cli.options import Check, Layer, Overwrite, UndoLog1p, UseRaw, say
from rankformer.errors import SettingsError

if TYPE_CHECKING:
    from rankformer.finetuning.classifier_report import ClassifierEvaluation


HOW_IT_IS_EVALUATED = "How it is evaluated"


def _how(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=HOW_IT_IS_EVALUATED)


class Beside(StrEnum):  # noqa: D101
    harmony = "harmony"
    scvi = "scvi"


def evaluate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help=".h5ad or .zarr with counts.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder for figures, tables and pictures.")
    ],
    label: Annotated[str, typer.Option(help="The column of obs with the true labels.")],
    key: Annotated[
        list[str] | None, typer.Option(help="The name of an embedding in obsm to evaluate.")
    ] = None,
    predicted: Annotated[
        str | None,
        typer.Option(
            help="Instead: a column of obs with predicted labels; NAME_probability and "
            "NAME_uncertain are taken where they are."
        ),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="Instead: a model that was fine-tuned on FILE; it is evaluated on its test part."
        ),
    ] = None,
    batch: Annotated[
        str | None, _how("A column of obs with batches, whose mixing is measured.")
    ] = None,
    group: Annotated[
        str | None,
        _how("A column of obs, such as donor: none of its groups is both trained on and tested."),
    ] = None,
    beside: Annotated[
        list[Beside] | None, _how("A further method, where it is installed; it needs --batch.")
    ] = None,
    ignore: Annotated[
        list[str] | None, _how("A label whose cells are left out, such as unassigned.")
    ] = None,
    baseline: Annotated[
        bool,
        _how(
            "With --predicted: evaluate a logistic regression on log counts beside it.",
            "--baseline/--no-baseline",
        ),
    ] = True,
    folds: Annotated[int, _how("The number of folds; at most as many as there are groups.")] = 5,
    seeds: Annotated[
        int, _how("How often folds and clusters are drawn, each time by another seed.")
    ] = 5,
    overwrite: Overwrite = False,
    layer: Layer = None,
    use_raw: UseRaw = None,
    undo_log1p: UndoLog1p = False,
    check: Check = True,
) -> None:
    """Evaluate embeddings, labels or a fine-tuned model, beside baselines on the same cells."""
    from rankformer.results.output_checks import check_folder_target
    from rankformer.tokens.tokenize import ReadingOptions

    _check_what(
        {"--key": key, "--predicted": predicted, "--classifier": classifier},
        {"--batch": batch, "--beside": beside, "--group": classifier and group},
    )
    check_folder_target(output, overwrite)
    options = ReadingOptions(layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check)
    common: dict[str, Any] = {"label": label, "ignored": tuple(ignore or ()), "options": options}
    same = {**common, "group": group, "n_folds": folds}
    if classifier is not None:
        _evaluate_classifier(file, classifier, output, overwrite, **common)
    elif key:
        more = {"batch": batch, "beside": [each.value for each in beside or ()], "n_seeds": seeds}
        _evaluate_embeddings(file, key, output, overwrite, **same, **more)
    else:
        _evaluate_predictions(file, str(predicted), output, overwrite, baseline=baseline, **same)
    say(f"Wrote {output}.")


def _evaluate_embeddings(
    file: Path, keys: list[str], output: Path, overwrite: bool, **settings: Any
) -> None:
    from rankformer.evaluate.embeddings import evaluate_embeddings
    from rankformer.show.evaluation_folder import write_embeddings
    from rankformer.show.evaluation_screen import render_embeddings

    evaluation = evaluate_embeddings(file, keys, **settings)
    write_embeddings(output, evaluation, overwrite=overwrite)
    render_embeddings(evaluation)


def _evaluate_predictions(
    file: Path, predicted: str, output: Path, overwrite: bool, **settings: Any
) -> None:
    from rankformer.evaluate.predictions import evaluate_predictions

    _show_classifier(evaluate_predictions(file, predicted, **settings), output, overwrite)


def _evaluate_classifier(
    file: Path, model: Path, output: Path, overwrite: bool, **settings: Any
) -> None:
    from rankformer.evaluate.finetuned import evaluate_finetuned

    _show_classifier(evaluate_finetuned(file, model, **settings), output, overwrite)


def _show_classifier(evaluation: "ClassifierEvaluation", output: Path, overwrite: bool) -> None:
    from rankformer.show.evaluation_folder import write_classifier
    from rankformer.show.evaluation_screen import render_classifier

    write_classifier(output, evaluation, overwrite=overwrite)
    render_classifier(evaluation)


def _check_what(what: Mapping[str, Any], of_embeddings: Mapping[str, Any]) -> None:
    """Refuse none or several of the three, and options that the one chosen would not read."""
    given = [name for name, value in what.items() if value]
    if len(given) != 1:
        told = f"{' and '.join(given)} were" if given else f"None of {', '.join(what)} was"
        raise SettingsError(
            f"{told} given.",
            "Embeddings in obsm (--key), predicted labels in obs (--predicted), or a fine-tuned "
            "model (--classifier).",
            "Name one of them; `rankformer inspect FILE` tells the columns of obs.",
        )
    unread = [name for name, value in of_embeddings.items() if value]
    if given != ["--key"] and unread:
        raise SettingsError(
            f"{given[0]} is to be evaluated, on which {' and '.join(unread)} has no bearing.",
            f"Options that are read with {given[0]}.",
            f"Leave {' and '.join(unread)} out.",
        )
