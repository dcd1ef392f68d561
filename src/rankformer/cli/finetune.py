"""``rankformer finetune``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankformer.cli.options import (
    HOW_IT_IS_TRAINED,
    Accumulation,
    CellsAStep,
    Check,
    Device,
    EnsemblRelease,
    Epochs,
    GeneIds,
    GeneTableFile,
    Layer,
    LearningRate,
    LogSteps,
    MaxSteps,
    MinRecognised,
    Model,
    Pooling,
    Recompute,
    Resume,
    ScheduleOption,
    Sources,
    TableEnsembl,
    TableIdentifier,
    Threads,
    TrainingDtype,
    TrainingPrecision,
    UndoLog1p,
    UseRaw,
    WarmupSteps,
    WeightDecay,
    Workers,
    limit_threads,
    model_or_default,
    reading_options,
    say,
)
from rankformer.errors import SettingsError

if TYPE_CHECKING:
    from rankformer.finetuning.units import CellTask, GeneTask

_WHAT = "What is learned"
_SPLIT = "What it is tested on"


def _what(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_WHAT)


def _split(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_SPLIT)


def _recipe(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=HOW_IT_IS_TRAINED)


def finetune(
    files: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for the model.")],
    model: Model = None,
    label: Annotated[
        list[str] | None, _what("A column of obs with classes, or of --genes.")
    ] = None,
    regress: Annotated[list[str] | None, _what("A column of obs with numbers.")] = None,
    label_weight: Annotated[
        list[float] | None,
        _what("The weight of a label's loss in the sum: first of --label, then of --regress."),
    ] = None,
    unlabelled: Annotated[
        list[str] | None, _what("A value that is no label, such as unassigned.")
    ] = None,
    genes: Annotated[
        Path | None, _what("Learn classes of genes: a CSV or TSV with a row a gene.")
    ] = None,
    gene_column: Annotated[
        str | None, _what("Beside --genes: its column of genes; ensembl_id unless given.")
    ] = None,
    group: Annotated[
        str | None, _split("A column of obs, such as donor, whose groups are never torn.")
    ] = None,
    validation_share: Annotated[
        float, _split("The share of cells that decides when to stop and how sure predictions are.")
    ] = 0.1,
    test_share: Annotated[
        float, _split("The share of cells that is used for the test alone.")
    ] = 0.1,
    folds: Annotated[
        int | None, _split("Test each cell or gene once: a model for each of so many folds.")
    ] = None,
    pooling: Annotated[Pooling, _recipe("A cell is the mean of its genes, or <cls>.")] = (
        Pooling.cell
    ),
    freeze_layers: Annotated[
        int | None, _recipe("How many layers keep their weights, from the lowest; -1 for all.")
    ] = None,
    lora_rank: Annotated[
        int | None, _recipe("Train only differences of this rank to the weights (LoRA).")
    ] = None,
    lora_alpha: Annotated[
        int | None, _recipe("With --lora-rank: the differences are scaled by alpha over rank.")
    ] = None,
    dropout: Annotated[
        float | None, _recipe("The share of a cell's vector that is dropped out before the head.")
    ] = None,
    class_weights: Annotated[
        bool, _recipe("Weigh classes by their rarity in the loss.", "--class-weights")
    ] = False,
    balanced_sampling: Annotated[
        bool, _recipe("Draw each class of the first label equally often.", "--balanced-sampling")
    ] = False,
    label_smoothing: Annotated[
        float | None, _recipe("The share of each label that is spread over all classes.")
    ] = None,
    patience: Annotated[
        int | None, _recipe("End after so many evaluations without a better loss.")
    ] = None,
    search: Annotated[
        int | None, _recipe("First try so many recipes (needs optuna), and take the best.")
    ] = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    batch_size: CellsAStep = None,
    accumulation: Accumulation = None,
    learning_rate: LearningRate = None,
    schedule: ScheduleOption = None,
    warmup_steps: WarmupSteps = None,
    weight_decay: WeightDecay = None,
    evaluate_steps: Annotated[
        int | None,
        _recipe("Steps between evaluations and checkpoints; once an epoch unless given."),
    ] = None,
    log_steps: LogSteps = None,
    recompute: Recompute = False,
    seed: Annotated[
        int, _recipe("The seed of the heads, of the order of cells and of the split.")
    ] = 0,
    resume: Resume = False,
    layer: Layer = None,
    use_raw: UseRaw = None,
    undo_log1p: UndoLog1p = False,
    check: Check = True,
    gene_ids: GeneIds = None,
    gene_table: GeneTableFile = None,
    identifier_column: TableIdentifier = None,
    ensembl_column: TableEnsembl = None,
    ensembl_release: EnsemblRelease = None,
    min_recognised: MinRecognised = 0.5,
    device: Device = "auto",
    dtype: TrainingDtype = TrainingPrecision.float32,
    workers: Workers = 0,
    threads: Threads = None,
) -> None:
    """Teach a model labels of cells or genes, tested on what it has not seen."""
    from dataclasses import replace

    from rankformer.checkpoints.checkpoint import Checkpoint
    from rankformer.finetuning.finetune import (
        FineTuningSettings,
        check_searched,
        cross_validate,
        found_recipe,
        search_recipe,
    )
    from rankformer.finetuning.finetune import finetune as train
    from rankformer.finetuning.hyperparameters import FineTuningRecipe
    from rankformer.tokens.tokenized_cells import check_free
    from rankformer.training.splits import SplitPlan

    task = _task(label, regress, label_weight, unlabelled, genes, gene_column, group)
    changes: dict[str, Any] = {
        "pooling": pooling.value, "freeze_layers": freeze_layers, "lora_rank": lora_rank,
        "lora_alpha": lora_alpha, "dropout": dropout, "class_weights": class_weights,
        "balanced_sampling": balanced_sampling, "label_smoothing": label_smoothing,
        "patience": patience, "epochs": epochs, "max_steps": max_steps, "batch_size": batch_size,
        "accumulation": accumulation, "learning_rate": learning_rate,
        "schedule": schedule and schedule.value, "warmup_steps": warmup_steps,
        "weight_decay": weight_decay, "evaluate_steps": evaluate_steps,
        "save_steps": evaluate_steps, "log_steps": log_steps, "recompute": recompute, "seed": seed,
    }  # fmt: skip
    given = {name: value for name, value in changes.items() if value is not None}
    settings = FineTuningSettings(
        recipe=FineTuningRecipe(**given),
        plan=SplitPlan(validation_share, test_share, folds, seed),
        options=reading_options(
            layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
            gene_table=gene_table, identifier_column=identifier_column,
            ensembl_column=ensembl_column, ensembl_release=ensembl_release,
            min_recognised=min_recognised, threads=threads,
        ),
        device=device, dtype=dtype.value, n_workers=workers, resume=resume,
    )  # fmt: skip
    limit_threads(threads)
    checkpoint = Checkpoint.open(model_or_default(model))
    if search is not None:
        check_searched(settings)
        if resume:
            found = found_recipe(settings.recipe, output)
        else:
            check_free(output)
            found = search_recipe(files, checkpoint, task, settings, n_trials=search)
        settings = replace(settings, recipe=found)
    if folds is None:
        train(files, output, checkpoint, task, settings)
    else:
        cross_validate(files, output, checkpoint, task, settings)
    say(f"Wrote {output}.")


def _task(
    label: list[str] | None,
    regress: list[str] | None,
    label_weight: list[float] | None,
    unlabelled: list[str] | None,
    genes: Path | None,
    gene_column: str | None,
    group: str | None,
) -> "CellTask | GeneTask":
    from rankformer.finetuning.units import CellTask, GeneTask

    without = tuple(unlabelled or ())
    if genes is None and gene_column is not None:
        raise SettingsError(
            "--gene-column was given without --genes.",
            "It names a column of the table with labels of genes.",
            "Add --genes, or leave --gene-column out; --gene-ids names a column of var.",
        )
    if genes is None:
        weights = tuple(label_weight) if label_weight else None
        return CellTask(tuple(label or ()), tuple(regress or ()), weights, without, group)
    names = label or []
    if len(names) != 1 or regress or label_weight or group:
        raise SettingsError(
            "Beside --genes, other than one --label was given, or --regress, --label-weight or "
            "--group, which are for cells.",
            "One --label: a column of the table with the classes of genes.",
            "Leave the others out.",
        )
    return GeneTask(genes, gene_column or "ensembl_id", names[0], without)
