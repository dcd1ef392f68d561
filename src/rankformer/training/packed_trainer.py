"""`transformers.Trainer` on packed batches: what pretraining and fine-tuning have in common.

Overridden is only what its documentation offers for it: the data loader and the evaluation. What
is ours to write with each checkpoint is written by a callback.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from rankformer.errors import SettingsError
from rankformer.tokens.block_shuffle import shuffle_in_blocks
from rankformer.training.callbacks import BindCheckpoints, KeepOwnSteps, LogProgress, ShowSteps
from rankformer.training.distributed import is_distributed, wait_for
from rankformer.training.hyperparameters import TrainingHyperparameters
from rankformer.training.inputs import Inputs
from rankformer.training.resume_states import check_resume_states
from rankformer.training.run_folder import TrainingRun

logger = logging.getLogger(__name__)
_SECONDS_FOR_A_FOLDER = 60.0  # on disks of a network, a new folder is not seen at once
WriteModel = Callable[[Path, Sequence[dict[str, Any]]], object]
"""Writes the model as it is to a folder; given the log of the run so far."""
MakeBatch = Callable[[Sequence[int]], Inputs]
"""Makes the inputs of a step of draws."""
Measure = Callable[[Any], dict[str, float]]
"""Figures of a module on what is held out; ``loss`` among them."""


class Draws(Sampler[int]):
    """Numbers that stand for an epoch and a cell: ``epoch * n_cells + row``.

    Parameters
    ----------
    rows
        (n,) ascending rows of the cells to train on.
    n_cells
        Cells in all.
    seed
        Of the order.
    chances
        (n,) how often each cell is drawn, in proportion; each once an epoch unless given.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        n_cells: int,
        seed: int,
        chances: NDArray[np.float64] | None = None,
    ) -> None:
        self.rows, self.n_cells, self.seed, self.epoch = rows, n_cells, seed, 0
        self.chances = chances

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        for mixed in shuffle_in_blocks(self._drawn(), seed=self.seed, epoch=self.epoch):
            yield from (self.epoch * self.n_cells + mixed).tolist()

    def _drawn(self) -> NDArray[np.int64]:
        if self.chances is None:
            return self.rows
        rng = np.random.default_rng((self.seed, self.epoch, 1))
        shares = self.chances / self.chances.sum()
        return np.sort(rng.choice(self.rows, len(self.rows), p=shares))


class _Identity(Dataset[int]):
    """Gives each draw as it is; `MakeBatch` makes cells of them, a batch at a time."""

    def __init__(self, n_draws: int) -> None:
        self.n_draws = n_draws

    def __len__(self) -> int:
        return self.n_draws

    def __getitem__(self, draw: int) -> int:
        return draw


class PackedTrainer(Trainer):
    """Trains a module on packed batches.

    Parameters
    ----------
    module, arguments
        What to train, and how.
    draws
        Which cells, in which order.
    make_batch
        Makes batches of draws.
    measure
        Evaluates; None where nothing is held out.
    callbacks
        Called along the way.
    drop_last
        Leave out the last batch of an epoch where it is not full.
    schedule_steps
        Steps after which the schedule of the rate has run; those of the training unless given.
    **more
        Further arguments of the `Trainer`.
    """

    def __init__(
        self,
        module: nn.Module | None,
        arguments: TrainingArguments,
        *,
        draws: Draws,
        make_batch: MakeBatch,
        measure: Measure | None,
        callbacks: Sequence[TrainerCallback],
        drop_last: bool = True,
        schedule_steps: int | None = None,
        **more: Any,
    ) -> None:
        self._identity = _Identity(len(draws))
        super().__init__(
            module, arguments, train_dataset=self._identity, eval_dataset=_Identity(0),
            callbacks=[*callbacks, LogProgress(), KeepOwnSteps(), BindCheckpoints()], **more,
        )  # fmt: skip
        self.remove_callback(PrinterCallback)
        self._draws, self._make_batch = draws, make_batch
        self._measure, self._drop_last = measure, drop_last
        self._schedule_steps = schedule_steps

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule of the rate, which may be longer or shorter than the training."""
        return super().create_scheduler(self._schedule_steps or num_training_steps, optimizer)

    def train_from(self, last: Path | None) -> None:
        """Train from the beginning, or go on from a checkpoint.

        Raises
        ------
        OutputError
            If the checkpoint holds anything but tensors and numbers, or names weights of another
            place: nothing else is read.
        """
        if last is not None:
            check_resume_states(last)
            state = TrainerState.load_from_json(str(last / TRAINER_STATE_NAME))
            if state.global_step >= state.max_steps:
                self._take_finished(state, last)
                return
        with ExitStack() as shown:
            self.add_callback(ShowSteps(shown))
            self.train(resume_from_checkpoint=str(last) if last else None)

    def _take_finished(self, state: TrainerState, last: Path) -> None:
        """Take the weights of a training that is finished; the Trainer would take one step more."""
        best = last.with_name(f"checkpoint-{state.best_global_step}")
        keeps_best = self.args.load_best_model_at_end and best.is_dir()
        self.state = state
        self._load_from_checkpoint(str(best if keeps_best else last))
        # By this, what is still to be evaluated is logged beside the checkpoints.
        self.callback_handler.on_train_begin(self.args, self.state, self.control)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Draws in a shuffled order, made into batches of cells."""
        loader = DataLoader(
            self._identity,
            batch_size=self.args.per_device_train_batch_size,
            sampler=self._draws,
            collate_fn=self._make_batch,
            drop_last=self._drop_last,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Figures on all that is held out."""
        if self._measure is None:
            return {}
        figures = self._measure(self.accelerator.unwrap_model(self.model))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def evaluate_at_the_end(self) -> None:
        """Evaluate the finished model, unless its last step was evaluated already."""
        steps = [entry["step"] for entry in self.state.log_history if "eval_loss" in entry]
        if self.state.global_step not in steps:
            self.evaluate()


def training_arguments(
    hyperparameters: TrainingHyperparameters,
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    n_workers: int = 0,
    evaluates: bool,
    saves: bool = True,
    keeps_best: bool = False,
) -> TrainingArguments:
    """Hyperparameters in the Trainer's words.

    Parameters
    ----------
    hyperparameters
        How to train. Without steps between evaluations or checkpoints, each epoch ends with one.
    folder
        For checkpoints.
    device, dtype, n_workers
        Where, in which precision products are taken, and processes that make batches.
    evaluates, saves
        Whether something is held out, and whether checkpoints are kept.
    keeps_best
        End with the checkpoint of least loss on what is held out, not with the last one.
    """
    if (
        hyperparameters.epochs is None
        or hyperparameters.learning_rate is None
        or hyperparameters.warmup_steps is None
    ):
        raise SettingsError(
            "Epochs, learning rate or warm-up are not set.",
            "Numbers for all three, where a trainer is made.",
            "Give them, or let settle_finetuning or settle_pretraining choose them.",
        )
    on_cuda = device.type == "cuda"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=hyperparameters.epochs,
        max_steps=-1 if hyperparameters.max_steps is None else hyperparameters.max_steps,
        per_device_train_batch_size=hyperparameters.batch_size,
        gradient_accumulation_steps=hyperparameters.accumulation,
        learning_rate=hyperparameters.learning_rate,
        lr_scheduler_type=hyperparameters.schedule,
        warmup_steps=hyperparameters.warmup_steps,
        weight_decay=hyperparameters.weight_decay,
        max_grad_norm=hyperparameters.max_grad_norm,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=device.type == "cpu",
        seed=hyperparameters.seed,
        save_strategy=_when(hyperparameters.save_steps) if saves else "no",
        save_steps=hyperparameters.save_steps or 1,
        save_total_limit=2,
        load_best_model_at_end=keeps_best,
        metric_for_best_model="loss" if keeps_best else None,
        greater_is_better=False if keeps_best else None,
        restore_callback_states_from_checkpoint=keeps_best,
        logging_steps=hyperparameters.log_steps,
        eval_strategy=_when(hyperparameters.evaluate_steps) if evaluates else "no",
        eval_steps=hyperparameters.evaluate_steps,
        dataloader_num_workers=n_workers,
        dataloader_pin_memory=on_cuda,
        accelerator_config={"non_blocking": on_cuda},
        # It would ask for the loss at each step, and the GPU would wait.
        logging_nan_inf_filter=False,
        optim="adamw_torch" if device.type == "mps" else "adamw_torch_fused",
        remove_unused_columns=False,
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        ddp_backend="gloo" if is_distributed() and device.type == "cpu" else None,
        report_to=["tensorboard"] if saves and find_spec("tensorboard") is not None else [],
    )
    # Several GPUs go through torchrun: DataParallel would cut packed batches within cells.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _when(steps: int | None) -> str:
    return "epoch" if steps is None else "steps"


def begin_run(
    run: TrainingRun, arguments: TrainingArguments, settings: Mapping[str, Any], *, resume: bool
) -> Path | None:
    """The checkpoint to go on from; of several processes the first makes or checks the folder."""
    with arguments.main_process_first(local=False):
        if arguments.process_index == 0:
            return run.begin(settings, resume=resume)
        wait_for(run.folder, _SECONDS_FOR_A_FOLDER)
        return run.last_checkpoint() if resume else None


def expect_finite(loss: float) -> float:
    """The loss on what is held out.

    Raises
    ------
    SettingsError
        If it is NaN or infinite.
    """
    if np.isfinite(loss):
        return loss
    raise _diverged(f"The loss on what is held out is {loss}")


def expect_finite_weights(module: nn.Module) -> None:
    """Refuse a module that has run off, before it is written.

    Raises
    ------
    SettingsError
        If a weight is NaN or infinite.
    """
    if not all(bool(torch.isfinite(each).all()) for each in module.parameters()):
        raise _diverged("The weights hold NaN or infinite values")


def _diverged(found: str) -> SettingsError:
    return SettingsError(
        f"{found}: the training has diverged.",
        "Finite losses and weights.",
        "Lower learning_rate (--learning-rate), and remove the run's folder to begin anew.",
    )
