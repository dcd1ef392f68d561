"""One fine-tuning: a checkpoint is trained, judged and tested on one split of labelled data."""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.errors import SettingsError
from rankformer.finetuning.hyperparameters import (
    FineTuningHyperparameters,
    settle_finetuning,
)
from rankformer.finetuning.labelled_data import (
    LabelledData,
    check_trained_classes,
    hash_split,
)
from rankformer.finetuning.result import FinishedModel, finish, write_finished
from rankformer.finetuning.settings import CellTask, FineTuningSettings, GeneTask
from rankformer.model.device import choose_device
from rankformer.model.precision import choose_dtype
from rankformer.results.metric_names import spoken_name
from rankformer.training.distributed import wait_for
from rankformer.training.hyperparameters import tell_what_was_settled
from rankformer.training.model_card import describe_training
from rankformer.training.run_folder import TrainingRun
from rankformer.training.splits import PARTS, PartSplit

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from rankformer.model.heads import FineTuningLoss
    from rankformer.training.packed_trainer import PackedTrainer

logger = logging.getLogger(__name__)
Data: TypeAlias = Callable[[int, int], dict[str, Any]]
"""Describes the sources, given the cells trained on and held out."""


def finetune_on(
    labelled_data: LabelledData,
    split: PartSplit,
    output: Path,
    model: Checkpoint,
    settings: FineTuningSettings,
    data: Data,
) -> FineTunedModel:
    from rankformer.finetuning.trainer import draw_loss
    from rankformer.training.packed_trainer import begin_run, training_arguments

    check_trained_classes(labelled_data, split)
    labelled_data = labelled_data.scaled(split.train)
    settings = settle(settings, model, len(labelled_data.cells_of(split.train)))
    hyperparameters = settings.hyperparameters
    described = describe_run(labelled_data, split, model, settings, data)
    run, place = TrainingRun(output), choose_device(settings.device)
    objective = draw_loss(
        model, labelled_data.labels, split.train, hyperparameters, labelled_data.unit
    )
    arguments = training_arguments(
        hyperparameters, run.folder,
        device=place, dtype=choose_dtype(settings.dtype, place, model.spec),
        n_workers=settings.n_workers, evaluates=True, keeps_best=True,
    )  # fmt: skip
    last = begin_run(run, arguments, described, resume=settings.resume)
    trainer = _make_trainer(labelled_data, split, objective, arguments, hyperparameters)
    with run.told_when_stopped():
        trainer.train_from(last)
    if trainer.is_world_process_zero():
        finished = finish(
            labelled_data, split, model, objective, hyperparameters, device=str(place)
        )
        record = describe_training(
            **described["data"], hyperparameters=asdict(hyperparameters), begun_from=model.name,
            log=trainer.state.log_history,
        )  # fmt: skip
        record = {
            **record,
            "plan": asdict(settings.plan),
            "grouped": labelled_data.groups is not None,
        }
        write_finished(
            output, finished, labelled_data, split, model, hyperparameters, record, settings.words
        )
        _tell(finished, split)
    wait_for(output)
    return FineTunedModel.open(output)


def settle(settings: FineTuningSettings, model: Checkpoint, n_cells: int) -> FineTuningSettings:
    """The settings with hyperparameters that are whole; what was not asked for is told."""
    hyperparameters = settle_finetuning(settings.hyperparameters, model.spec.d_model, n_cells)
    tell_what_was_settled(
        settings.hyperparameters, hyperparameters, f"{n_cells:,} cells and {model.name}"
    )
    return replace(settings, hyperparameters=hyperparameters)


def describe_run(
    labelled_data: LabelledData,
    split: PartSplit,
    model: Checkpoint,
    settings: FineTuningSettings,
    data: Data,
) -> dict[str, Any]:
    """All that must be the same for a run to be gone on with."""
    n_held_out = 0 if labelled_data.unit == "gene" else len(split.validation) + len(split.test)
    return {
        "hyperparameters": asdict(settings.hyperparameters),
        "begun_from": model.provenance(),
        "heads": [asdict(each.head) for each in labelled_data.labels],
        "data": data(len(labelled_data.cells_of(split.train)), n_held_out),
        "split_sha256": hash_split(labelled_data.labelled_split(split)),
    }


def _make_trainer(
    labelled_data: LabelledData,
    split: PartSplit,
    objective: "FineTuningLoss",
    arguments: "TrainingArguments",
    hyperparameters: FineTuningHyperparameters,
) -> "PackedTrainer":
    from rankformer.finetuning.trainer import draw_cells, make_trainer, measure_in

    rows = labelled_data.cells_of(split.train)
    return make_trainer(
        objective,
        arguments,
        labelled_data.batches(split.train),
        draw_cells(rows, len(labelled_data.cells), labelled_data.labels[0], hyperparameters),
        validation=measure_in(
            labelled_data.batches(split.validation),
            labelled_data.cells_of(split.validation, few=True),
            labelled_data.labels,
        ),
        patience=hyperparameters.patience,
    )


def _tell(finished: FinishedModel, split: PartSplit) -> None:
    logger.info(
        "The split: %s to train on, %s for validation, %s for the test.",
        *(f"{len(getattr(split, part)):,}" for part in PARTS),
    )
    for part, heads in finished.scores.items():
        for name, figures in heads.items():
            told = ", ".join(f"{spoken_name(key)} {value:.3f}" for key, value in figures.items())
            logger.info("%s, %s: %s.", part.capitalize(), name, told)


def check_hyperparameters(
    task: CellTask | GeneTask, hyperparameters: FineTuningHyperparameters
) -> None:
    if isinstance(task, CellTask) and not task.labels:
        _refuse_options_of_classes(hyperparameters)
    if not hyperparameters.balanced_sampling:
        return
    if isinstance(task, GeneTask) or not task.labels:
        raise SettingsError(
            "Balanced sampling was asked for, and no cell has a class.",
            "Classes of cells, so that each can be drawn equally often.",
            "Leave balanced_sampling (--balanced-sampling) out; --class-weights weighs classes of "
            "genes.",
        )


def _refuse_options_of_classes(hyperparameters: FineTuningHyperparameters) -> None:
    """Refuse what would do nothing, where only numbers are learned."""
    given = {
        "class_weights": hyperparameters.class_weights,
        "label_smoothing": hyperparameters.label_smoothing,
    }
    for name, value in given.items():
        if value:
            raise SettingsError(
                f"{name} was given, and only numbers are learned.",
                "Classes, which it is for.",
                f"Leave {name} (--{name.replace('_', '-')}) out.",
            )
