"""Search for hyperparameters with the back ends of `transformers.Trainer`."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.errors import SettingsError
from rankformer.finetuning.hyperparameters import BACKENDS, FineTuningHyperparameters
from rankformer.finetuning.labelled_data import LabelledData
from rankformer.finetuning.trainer import (
    draw_cells,
    draw_loss,
    make_trainer,
    measure_in,
)
from rankformer.training.cells import tokens_in_memory
from rankformer.training.distributed import is_distributed
from rankformer.training.packed_trainer import training_arguments
from rankformer.training.splits import PartSplit

logger = logging.getLogger(__name__)
_RATES, _DECAYS, _MOST_EPOCHS, _MOST_WARMUP = (1e-5, 3e-3), (1e-4, 1e-1), 10, 500


def search_with_trainer(
    labelled_data: LabelledData,
    split: PartSplit,
    model: Checkpoint,
    hyperparameters: FineTuningHyperparameters,
    *,
    device: torch.device,
    dtype: torch.dtype,
    n_trials: int,
    backend: str,
) -> FineTuningHyperparameters:
    """Those with the least loss on the validation part; see `search_hyperparameters`."""
    if n_trials < 1 or backend not in BACKENDS:
        raise SettingsError(
            f"{n_trials} trials with {backend!r} were asked for.",
            'At least one, with "optuna" or "ray".',
            "Correct n_trials (--search) or backend.",
        )
    if is_distributed():
        raise SettingsError(
            "A search for hyperparameters was asked for under torchrun.",
            "One process: each trial is a run of its own.",
            "Search without torchrun, then train with what was found.",
        )
    if backend == "ray":
        # Its trials are processes, and get the data.
        labelled_data = replace(labelled_data, cells=tokens_in_memory(labelled_data.cells))
        _forget_ended_trainings()
    rows = labelled_data.cells_of(split.train)
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(
            hyperparameters, Path(folder), device=device, dtype=dtype, evaluates=True, saves=False
        )
        trainer = make_trainer(
            None, arguments, labelled_data.batches(split.train),
            draw_cells(rows, len(labelled_data.cells), labelled_data.labels[0], hyperparameters),
            validation=measure_in(
                labelled_data.batches(split.validation),
                labelled_data.cells_of(split.validation, few=True),
                labelled_data.labels,
            ),
            model_init=lambda: draw_loss(
                model, labelled_data.labels, split.train, hyperparameters, labelled_data.unit
            ),
        )  # fmt: skip
        best: Any = trainer.hyperparameter_search(
            hp_space=_space(backend), n_trials=n_trials, backend=backend, direction="minimize",
            compute_objective=lambda figures: figures["eval_loss"],
            **_arguments(backend, hyperparameters.seed, folder),
        )  # fmt: skip
    found = dict(best.hyperparameters)
    logger.info(
        "The lowest loss on the validation cells, %.4f, was reached with %s.", best.objective, found
    )
    return replace(
        hyperparameters,
        learning_rate=found["learning_rate"],
        weight_decay=found["weight_decay"],
        warmup_steps=int(found["warmup_steps"]),
        epochs=float(found["num_train_epochs"]),
    )


def _forget_ended_trainings() -> None:
    """Let a Trainer be sent to other processes after another one trained in this process.

    A training that ends within an epoch leaves a weak reference to its loader in a state that
    accelerate shares among all Trainers, and nothing can send such a reference.
    """
    from accelerate.state import GradientState

    # None stands for the time when nothing is loaded.
    GradientState().dataloader_references = [None]


def _arguments(backend: str, seed: int, folder: str) -> dict[str, Any]:
    """Of the back end: draws by the seed (ray takes NumPy's, which the Trainer sets), its files."""
    if backend == "ray":
        return {"storage_path": folder, "verbose": 0}
    from optuna.samplers import TPESampler

    return {"sampler": TPESampler(seed=seed)}


def _space(backend: str) -> Callable[[Any], dict[str, Any]]:
    """Names are those of `TrainingArguments`."""
    if backend == "ray":
        from ray import tune

        return lambda _: {
            "learning_rate": tune.loguniform(*_RATES),
            "weight_decay": tune.loguniform(*_DECAYS),
            "warmup_steps": tune.randint(0, _MOST_WARMUP + 1),
            "num_train_epochs": tune.randint(1, _MOST_EPOCHS + 1),
        }
    return lambda trial: {
        "learning_rate": trial.suggest_float("learning_rate", *_RATES, log=True),
        "weight_decay": trial.suggest_float("weight_decay", *_DECAYS, log=True),
        "warmup_steps": trial.suggest_int("warmup_steps", 0, _MOST_WARMUP),
        "num_train_epochs": trial.suggest_int("num_train_epochs", 1, _MOST_EPOCHS),
    }
