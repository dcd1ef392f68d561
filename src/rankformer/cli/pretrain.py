"""``rankformer pretrain``."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankformer.cli.options import (
    HOW_IT_IS_TRAINED,
    HOW_THE_MODEL_RUNS,
    Accumulation,
    CellsAStep,
    Check,
    EnsemblRelease,
    Epochs,
    GeneIds,
    GeneTableFile,
    Layer,
    LearningRate,
    LogSteps,
    MaxSteps,
    MinRecognised,
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
    reading_options,
    say,
)
from rankformer.errors import SettingsError

if TYPE_CHECKING:
    from rankformer.model.encoder import MaskedLanguageModel
    from rankformer.pretraining.hyperparameters import Recipe
    from rankformer.vocabulary.vocabulary import Vocabulary

_WHAT = "What is trained"


class Objective(StrEnum):  # noqa: D101
    mlm = "mlm"
    contrastive = "mlm+contrastive"


def _what(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel=_WHAT)


def _recipe(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel=HOW_IT_IS_TRAINED)


def pretrain(
    files: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for the model.")],
    vocabulary: Annotated[
        Path | None, _what("From scratch: a vocabulary file, from `rankformer vocabulary build`.")
    ] = None,
    preset: Annotated[str | None, _what("From scratch: the shape of a published model.")] = None,
    layers: Annotated[int | None, _what("From scratch: the number of layers.")] = None,
    width: Annotated[int | None, _what("From scratch: the width of the hidden state.")] = None,
    heads: Annotated[int | None, _what("From scratch: the number of attention heads.")] = None,
    feed_forward: Annotated[
        int | None, _what("From scratch: the width of the feed-forward layers.")
    ] = None,
    coexpression: Annotated[
        bool,
        typer.Option(
            "--coexpression",
            help="From scratch: begin genes' vectors from their co-expression.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    model: Annotated[str | None, _what("Go on from this checkpoint: a name or a folder.")] = None,
    more_genes: Annotated[
        Path | None,
        _what("With --model: a vocabulary whose genes are added where the model lacks them."),
    ] = None,
    objective: Annotated[
        Objective | None,
        _recipe("What is learned: masked genes, or also that two views of a cell lie together."),
    ] = None,
    contrast_weight: Annotated[
        float | None, _recipe("With mlm+contrastive: the weight of the second part of the loss.")
    ] = None,
    thinnest_view: Annotated[
        float | None,
        _recipe("With mlm+contrastive: the least share of its molecules a view has; at most 0.5."),
    ] = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    batch_size: CellsAStep = None,
    accumulation: Accumulation = None,
    learning_rate: LearningRate = None,
    schedule: ScheduleOption = None,
    warmup_steps: WarmupSteps = None,
    weight_decay: WeightDecay = None,
    held_out_share: Annotated[
        float | None, _recipe("The share of the cells that is held out, to evaluate on.")
    ] = None,
    held_out_by: Annotated[
        str | None, _recipe("Hold out whole groups of this column of obs, such as donors.")
    ] = None,
    save_steps: Annotated[int | None, _recipe("The number of steps between checkpoints.")] = None,
    evaluate_steps: Annotated[
        int | None, _recipe("The number of steps between evaluations.")
    ] = None,
    log_steps: LogSteps = None,
    recompute: Recompute = False,
    seed: Annotated[int | None, _recipe("The seed of weights, order, masks and views.")] = None,
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
    device: Annotated[
        str,
        typer.Option(
            help="Where it runs: auto, cpu, cuda or mps.", rich_help_panel=HOW_THE_MODEL_RUNS
        ),
    ] = "auto",
    dtype: TrainingDtype = TrainingPrecision.float32,
    workers: Workers = 0,
    threads: Threads = None,
) -> None:
    """Train a model on cells: from scratch, or on from a checkpoint. Several GPUs: torchrun."""
    from rankformer.pretraining.pretrain import pretrain as train

    changes = {
        "objective": objective and objective.value, "contrast_weight": contrast_weight,
        "thinnest_view": thinnest_view, "epochs": epochs, "max_steps": max_steps,
        "batch_size": batch_size, "accumulation": accumulation, "learning_rate": learning_rate,
        "schedule": schedule and schedule.value, "warmup_steps": warmup_steps,
        "weight_decay": weight_decay, "held_out_share": held_out_share, "held_out_by": held_out_by,
        "save_steps": save_steps, "evaluate_steps": evaluate_steps, "log_steps": log_steps,
        "recompute": recompute or None, "seed": seed, "coexpression": coexpression or None,
    }  # fmt: skip
    shape = {"n_layers": layers, "d_model": width, "n_heads": heads, "d_ff": feed_forward}
    _check_start(model, more_genes, coexpression=coexpression)
    if model is None:
        begun_from = "random weights"
        network, genes = _from_scratch(vocabulary, preset, shape, seed or 0)
    else:
        begun_from = model
        network, genes = _from_checkpoint(model, more_genes, (vocabulary, preset, *shape.values()))
    limit_threads(threads)
    train(
        files, output, network, genes,
        recipe=_change(changes, genes),
        options=reading_options(
            layer=layer, use_raw=use_raw, undo_log1p=undo_log1p, check=check, gene_ids=gene_ids,
            gene_table=gene_table, identifier_column=identifier_column,
            ensembl_column=ensembl_column, ensembl_release=ensembl_release,
            min_recognised=min_recognised, threads=threads,
        ),
        device=device, dtype=dtype.value, n_workers=workers, resume=resume, begun_from=begun_from,
    )  # fmt: skip
    say(f"Wrote {output}.")


def _check_start(model: str | None, more_genes: Path | None, *, coexpression: bool) -> None:
    """Refuse what the other way to begin would leave unread, or undo."""
    if model is None and more_genes is not None:
        raise SettingsError(
            "--more-genes was given without --model.",
            "A checkpoint whose vocabulary grows by these genes.",
            "Add --model, or pass all genes as --vocabulary to train from scratch.",
        )
    if model is not None and coexpression:
        raise SettingsError(
            "--coexpression was given with --model.",
            "A new model: in a checkpoint it would replace what its genes' vectors have learned.",
            "Leave --coexpression out.",
        )


def _change(changes: dict[str, Any], vocabulary: "Vocabulary") -> "Recipe":
    from dataclasses import replace

    from rankformer.pretraining.hyperparameters import published_recipe

    given = {name: value for name, value in changes.items() if value is not None}
    return replace(published_recipe(vocabulary), **given)


def _from_scratch(
    vocabulary: Path | None, preset: str | None, shape: dict[str, int | None], seed: int
) -> "tuple[MaskedLanguageModel, Vocabulary]":
    from rankformer.pretraining.pretrain import draw_model, published_shape
    from rankformer.vocabulary.vocabulary import Vocabulary

    if vocabulary is None:
        raise SettingsError(
            "Neither a vocabulary nor a model was given.",
            "--vocabulary FILE to train from scratch, or --model to go on from a checkpoint.",
            "Make a vocabulary first: `rankformer vocabulary build FILE… -o vocabulary.parquet`.",
        )
    given = {name: value for name, value in shape.items() if value is not None}
    if preset is None and len(given) < len(shape):
        raise SettingsError(
            "The shape of the model is not whole: "
            f"{', '.join(name for name in shape if name not in given)} not given.",
            "--preset NAME, or all of --layers, --width, --heads and --feed-forward.",
            "Try --preset gf-6L-30M-i2048, the smallest that was published.",
        )
    genes = Vocabulary.load(vocabulary)
    return draw_model(genes, {**(published_shape(preset) if preset else {}), **given}, seed), genes


def _from_checkpoint(
    model: str, more_genes: Path | None, of_scratch: tuple[Any, ...]
) -> "tuple[MaskedLanguageModel, Vocabulary]":
    from rankformer.checkpoints.checkpoint import Checkpoint
    from rankformer.pretraining.pretrain import continue_model
    from rankformer.vocabulary.vocabulary import Vocabulary

    if any(each is not None for each in of_scratch):
        raise SettingsError(
            "Both --model and a vocabulary or shape to train from scratch were given.",
            "One of the two: a checkpoint brings its own vocabulary and shape.",
            "Leave out --model, or --vocabulary, --preset, --layers, --width, --heads and "
            "--feed-forward. To add genes to a checkpoint, pass --more-genes.",
        )
    more = Vocabulary.load(more_genes) if more_genes else None
    return continue_model(Checkpoint.open(model), more)
