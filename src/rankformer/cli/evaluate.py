"""``rankformer evaluate``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rankformer.cli.options import Check, Layer, Overwrite, UndoLog1p, UseRaw, say
from rankformer.errors import SettingsError


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
    label: Annotated[str, typer.Option(help="Column of obs with the true labels.")],
    key: Annotated[
        list[str] | None, typer.Option(help="An embedding in obsm to evaluate; several may be.")
    ] = None,
    predicted: Annotated[
        str | None,
        typer.Option(
            help="Instead: a column of obs with predicted labels; NAME_probability and "
            "NAME_uncertain are taken where they are."
        ),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help="Column of obs with batches, whose mixing is measured.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Column of obs, such as the donor: none is both trained on and tested."),
    ] = None,
    beside: Annotated[
        list[Beside] | None, typer.Option(help="Further methods, where installed; need --batch.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A label whose cells are left out: unassigned.")
    ] = None,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline/--no-baseline",
            help="With --predicted: logistic regression on log counts beside it.",
        ),
    ] = True,
    folds: Annotated[int, typer.Option(help="Folds, or as many as groups.")] = 5,
    seeds: Annotated[int, typer.Option(help="Draws of folds and clusters.")] = 5,
    overwrite: Overwrite = False,
    layer: Layer = None,
    use_raw: UseRaw = None,
    undo_log1p: UndoLog1p = False,
    check: Check = True,
) -> None:
    """Evaluate embeddings, or predicted labels, beside baselines on the same cells."""
    from rankformer.tasks.targets import check_folder_target
    from rankformer.tasks.tokenize import ReadingOptions

    _check_what(key, predicted, batch, beside)
    check_folder_target(output, overwrite)
    options = ReadingOptions(layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check)
    same: dict[str, Any] = {"label": label, "group": group, "ignored": tuple(ignore or ()),
                            "n_folds": folds, "options": options}  # fmt: skip
    if key:
        more = {"batch": batch, "beside": [each.value for each in beside or ()], "n_seeds": seeds}
        _evaluate_embeddings(file, key, output, overwrite, **same, **more)
    else:
        _evaluate_predictions(file, str(predicted), output, overwrite, baseline=baseline, **same)
    say(f"Wrote {output}.")


def _evaluate_embeddings(
    file: Path, keys: list[str], output: Path, overwrite: bool, **settings: Any
) -> None:
    from rankformer.show.evaluation_folder import write_embeddings
    from rankformer.show.evaluation_screen import render_embeddings
    from rankformer.tasks.evaluate_embeddings import evaluate_embeddings

    evaluation = evaluate_embeddings(file, keys, **settings)
    write_embeddings(output, evaluation, overwrite=overwrite)
    render_embeddings(evaluation)


def _evaluate_predictions(
    file: Path, predicted: str, output: Path, overwrite: bool, **settings: Any
) -> None:
    from rankformer.show.evaluation_folder import write_classifier
    from rankformer.show.evaluation_screen import render_classifier
    from rankformer.tasks.evaluate_predictions import evaluate_predictions

    evaluation = evaluate_predictions(file, predicted, **settings)
    write_classifier(output, evaluation, overwrite=overwrite)
    render_classifier(evaluation)


def _check_what(
    key: list[str] | None, predicted: str | None, batch: str | None, beside: list[Beside] | None
) -> None:
    if bool(key) == bool(predicted):
        raise SettingsError(
            f"{'Both' if key else 'Neither'} --key {'and' if key else 'nor'} --predicted "
            f"{'were' if key else 'was'} given.",
            "Embeddings in obsm (--key), or predicted labels in obs (--predicted).",
            "Name one of them; `rankformer inspect FILE` tells the columns of obs.",
        )
    unread = [name for name, value in {"--batch": batch, "--beside": beside}.items() if value]
    if predicted and unread:
        raise SettingsError(
            f"{' and '.join(unread)} was given with --predicted.",
            "An option that bears on predicted labels.",
            "Leave it out; it is for embeddings (--key).",
        )
