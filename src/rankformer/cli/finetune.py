"""``rankformer finetune``."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.next_steps import step
from rankformer.cli.options import Model, Threads, limit_threads, model_or_default
from rankformer.cli.reading import Reading
from rankformer.errors import SettingsError
from rankformer.finetuning.settings import CellTask, FineTuningSettings, GeneTask
from rankformer.settings import setting, settings
from rankformer.summary import Summary, Written
from rankformer.tokens.reading_options import InputFiles


@settings("What is learned")
class Labels:
    """Labels of cells, or of genes, to learn."""

    cells: CellTask = setting(default_factory=CellTask, text="See `CellTask`.")
    genes: Path | None = setting(
        common=True,
        default=None,
        text="Learn classes of genes, not of cells: a CSV or TSV file with a row for each gene.",
    )
    gene_column: str | None = setting(
        default=None,
        text="With --genes: its column of gene identifiers; by default ensembl_id.",
    )

    def task(self) -> CellTask | GeneTask:
        """What is learned.

        Raises
        ------
        SettingsError
            If options for cells and for genes were given together.
        """
        if self.genes is None:
            if self.gene_column is not None:
                raise SettingsError(
                    "--gene-column was given without --genes.",
                    "It names a column of the table with labels of genes.",
                    "Add --genes, or leave --gene-column out; --gene-ids names a column of var.",
                )
            return self.cells
        own = self.cells
        if len(own.labels) != 1 or own.numbers or own.weights or own.group:
            raise SettingsError(
                "Beside --genes, other than one --label was given, or --regress, --label-weight or "
                "--group, which are for cells.",
                "One --label: a column of the table with the classes of genes.",
                "Leave the others out.",
            )
        return GeneTask(
            self.genes, self.gene_column or "ensembl_id", own.labels[0], tuple(own.unlabelled)
        )


def finetune(
    inputs: InputFiles,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder of the model that is written.")
    ],
    labels: Labels,
    how: FineTuningSettings,
    reading: Reading,
    model: Model = None,
    search: Annotated[
        int | None,
        typer.Option(
            help="First try this many settings of learning rate, warm-up, weight decay and epochs, "
            "and take the best; needs optuna.",
            rich_help_panel="How the model is trained",
        ),
    ] = None,
    threads: Threads = None,
) -> Summary:
    """Teach a model labels of cells, or of genes, and test it on cells that it has not seen.

    The folder that is written holds the model, its predictions for the cells it was not trained
    on, and a card that says how good they are. `rankformer predict` applies it to other cells.
    """
    from rankformer.checkpoints.checkpoint import Checkpoint
    from rankformer.finetuning.finetune import (
        check_searched,
        cross_validate,
        found_hyperparameters,
        search_hyperparameters,
    )
    from rankformer.finetuning.finetune import finetune as train
    from rankformer.scratch import check_free

    files, task = list(inputs.sources), labels.task()
    # Checkpoints are made where the model is evaluated.
    own = replace(how.hyperparameters, save_steps=how.hyperparameters.evaluate_steps)
    how = replace(how, hyperparameters=own, options=reading.open(threads=threads))
    limit_threads(threads)
    checkpoint = Checkpoint.open(model_or_default(model))
    if search is not None:
        check_searched(how)
        if how.resume:
            found = found_hyperparameters(how.hyperparameters, output)
        else:
            check_free(output)
            found = search_hyperparameters(files, checkpoint, task, how, n_trials=search)
        how = replace(how, hyperparameters=found)
    if how.plan.n_folds is None:
        train(files, output, checkpoint, task, how)
    else:
        cross_validate(files, output, checkpoint, task, how)
    return _summarize(inputs.sources, output, labels, how)


def _summarize(
    files: Sequence[Path], output: Path, labels: Labels, how: FineTuningSettings
) -> Summary:
    from rankformer.finetuning.card import SCORES_FILE

    # Of the processes that train together, the first one writes.
    file = output / SCORES_FILE
    scores = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if how.plan.n_folds is not None:
        what = f"{how.plan.n_folds} models, one for each fold, and their scores"
        predicted = output / "fold-1"
    else:
        what, predicted = "the model, its predictions for held-out cells, and a card", output
    ending = "h5ad" if labels.genes is None else "csv"
    named = output.with_name(f"{output.name}-predicted.{ending}")
    steps = [step("Predict labels of cells", "predict", *files, "-o", named, "--model", predicted)]
    is_evaluated = labels.genes is None and how.plan.n_folds is None and len(files) == 1
    if is_evaluated and labels.cells.labels:
        words = ("--classifier", output, "--label", labels.cells.labels[0])
        folder = output.with_name(f"{output.name}-evaluation")
        why = "Measure it beside simple methods on cells that it was not trained on"
        steps.append(step(why, "evaluate", files[0], "-o", folder, *words))
    return Summary((Written(output, what),), {"scores": scores}, next_steps=tuple(steps))
