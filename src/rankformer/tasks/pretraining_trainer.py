"""`transformers.Trainer` on packed batches, with evaluation on masked genes.

Overridden is only what its documentation offers for it: the data loader and the evaluation. What
is ours to write with each checkpoint is written by a callback.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from rankformer.model.encoder import MaskedLanguageModel, PackedBatch
from rankformer.model.objective import PretrainingObjective
from rankformer.tasks.pretraining_batches import Draws, Identity, MaskedBatches
from rankformer.tasks.recipes import Recipe

logger = logging.getLogger(__name__)
_CELLS_SCORED_AT_ONCE = 16
WriteModel = Callable[[Path, Sequence[dict[str, Any]]], object]
"""Writes the model as it is to a folder; given the log of the run so far."""


class PretrainingTrainer(Trainer):
    """Trains a `PretrainingObjective`.

    Parameters
    ----------
    objective, settings
        What to train, and how.
    batches
        Makes the batches.
    rows
        (n,) ascending rows of the cells to train on.
    held_out
        Rows of the cells to evaluate on; may be empty.
    callbacks
        Called along the way.
    """

    def __init__(
        self,
        objective: PretrainingObjective,
        settings: TrainingArguments,
        *,
        batches: MaskedBatches,
        rows: NDArray[np.int64],
        held_out: NDArray[np.int64],
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        draws, to_score = Identity(len(rows)), Identity(len(held_out))
        super().__init__(
            objective, settings,
            train_dataset=draws, eval_dataset=to_score, callbacks=list(callbacks),
        )  # fmt: skip
        self._draws, self._batches = draws, batches
        self._rows, self._held_out = rows, held_out

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Draws in a shuffled order, made into batches of masked cells."""
        loader = DataLoader(
            self._draws,
            batch_size=self.args.per_device_train_batch_size,
            sampler=Draws(self._rows, len(self._batches.cells), self.args.seed),
            collate_fn=self._batches,
            drop_last=True,
            num_workers=self.args.dataloader_num_workers,
        )
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss and accuracy over the masked genes of all held-out cells; always the same masks."""
        objective = self.accelerator.unwrap_model(self.model)
        figures = score_masked_genes(objective.model, self._batches, self._held_out)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def evaluate_at_the_end(self) -> None:
        """Evaluate the finished model, unless its last step was evaluated already."""
        steps = [entry["step"] for entry in self.state.log_history if "eval_loss" in entry]
        if len(self._held_out) and self.state.global_step not in steps:
            self.evaluate()


@torch.inference_mode()
def score_masked_genes(
    model: MaskedLanguageModel, batches: MaskedBatches, rows: NDArray[np.int64]
) -> dict[str, float]:
    """How well the masked genes of whole cells are named.

    Parameters
    ----------
    model
        Any; it is left in the mode that it is in.
    batches
        Says which cells there are, and by its seed which genes are masked.
    rows
        (n,) the cells to look at, at least one.

    Returns
    -------
    ``loss``: mean cross-entropy, nats a masked gene. ``accuracy``: share named rightly.
    """
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    n_genes, n_right, loss = 0, 0, 0.0
    for start in range(0, len(rows), _CELLS_SCORED_AT_ONCE):
        inputs = replace(batches, two_views=False)(rows[start : start + _CELLS_SCORED_AT_ONCE])
        tokens, positions, offsets, places, genes = (each.to(device) for each in inputs.values())
        batch = PackedBatch(tokens, positions, tuple(offsets.tolist()))
        logits_MV = model(batch, places).float()
        n_genes += len(genes)
        n_right += int((logits_MV.argmax(dim=1) == genes).sum())
        loss += float(functional.cross_entropy(logits_MV, genes, reduction="sum"))
    model.train(was_training)
    return {"loss": loss / n_genes, "accuracy": n_right / n_genes}


class WriteCheckpoints(TrainerCallback):
    """Puts a complete model, in the folder ``model``, into each checkpoint of the Trainer."""

    def __init__(self, write: WriteModel) -> None:
        self._write = write

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / "model"
            self._write(folder, state.log_history)


class LogProgress(TrainerCallback):
    """Says the loss, the rate and the time left, in the log."""

    def __init__(self) -> None:
        self._began, self._first_step = 0.0, 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._began, self._first_step = time.monotonic(), state.global_step

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **_: Any,
    ) -> None:  # fmt: skip
        logs = logs or {}
        if not state.is_world_process_zero or not {"loss", "eval_loss"} & set(logs):
            return
        if "eval_loss" in logs:
            logger.info(
                "Step %s: masked genes of held-out cells, loss %.4f, accuracy %.2f %%",
                f"{state.global_step:,}", logs["eval_loss"], 100 * logs["eval_accuracy"],
            )  # fmt: skip
            return
        rate = (state.global_step - self._first_step) / (time.monotonic() - self._began)
        logger.info(
            "Step %s of %s: loss %.4f, %.2f steps/s, %.0f s left",
            f"{state.global_step:,}", f"{state.max_steps:,}", logs["loss"], rate,
            (state.max_steps - state.global_step) / rate,
        )  # fmt: skip


def training_arguments(
    recipe: Recipe, folder: Path, *, device: torch.device, dtype: torch.dtype, n_workers: int
) -> TrainingArguments:
    """A recipe in the Trainer's words."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        max_steps=-1 if recipe.max_steps is None else recipe.max_steps,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=device.type == "cpu",
        seed=recipe.seed,
        save_steps=recipe.save_steps,
        save_total_limit=2,
        logging_steps=recipe.log_steps,
        eval_strategy="steps" if recipe.held_out_share else "no",
        eval_steps=recipe.evaluate_steps,
        dataloader_num_workers=n_workers,
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        ddp_backend="gloo" if is_distributed() and device.type == "cpu" else None,
        report_to=["tensorboard"] if has_tensorboard() else [],
    )
    # Several GPUs go through torchrun: DataParallel would cut packed batches within cells.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def is_distributed() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def has_tensorboard() -> bool:
    """Whether curves can be written for TensorBoard."""
    return find_spec("tensorboard") is not None


def make_trainer(
    objective: PretrainingObjective,
    arguments: TrainingArguments,
    batches: MaskedBatches,
    rows: NDArray[np.int64],
    held_out: NDArray[np.int64],
    write: WriteModel,
) -> PretrainingTrainer:
    """A Trainer that says what it does in the log and writes complete models."""
    trainer = PretrainingTrainer(
        objective, arguments, batches=batches, rows=rows, held_out=held_out,
        callbacks=[WriteCheckpoints(write), LogProgress()],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer
