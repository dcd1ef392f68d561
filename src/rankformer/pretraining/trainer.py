"""Pretraining in the hands of `PackedTrainer`, with evaluation on masked genes."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import TrainerCallback, TrainingArguments

from rankformer.model.encoder import MaskedLanguageModel, PackedBatch
from rankformer.pretraining.batches import MaskedBatches
from rankformer.pretraining.loss import PretrainingLoss
from rankformer.pretraining.parts import PartsOfWidth, keep_apart
from rankformer.training.callbacks import WriteCheckpoints, WriteModel
from rankformer.training.inputs import move_inputs
from rankformer.training.packed_trainer import Draws, PackedTrainer, expect_finite

_CELLS_SCORED_AT_ONCE = 16


class KeepApart(TrainerCallback):
    """Keeps the parts of a model apart after each step, before it is saved."""

    def __init__(self, model: MaskedLanguageModel, parts: PartsOfWidth) -> None:
        self._model, self._parts = model, parts

    def on_step_end(self, *_: object, **__: object) -> None:
        keep_apart(self._model, self._parts)


def make_trainer(
    objective: PretrainingLoss,
    arguments: TrainingArguments,
    batches: MaskedBatches,
    rows: NDArray[np.int64],
    held_out: NDArray[np.int64],
    write: WriteModel,
) -> PackedTrainer:
    """A trainer of an objective on some cells, which evaluates on others.

    Parameters
    ----------
    objective, arguments
        What to train, and how.
    batches
        Makes the batches.
    rows, held_out
        (n,) ascending rows of the cells to train on, and of those to evaluate on, perhaps none.
    write
        Writes the model with each checkpoint.
    """
    parts = objective.parts
    keeps = [KeepApart(objective.model, parts)] if parts is not None else []
    return PackedTrainer(
        objective, arguments,
        draws=Draws(rows, len(batches.cells), arguments.seed),
        make_batch=batches,
        measure=partial(_measure, batches=batches, rows=held_out) if len(held_out) else None,
        callbacks=[*keeps, WriteCheckpoints(write)],
    )  # fmt: skip


def _measure(
    objective: PretrainingLoss, batches: MaskedBatches, rows: NDArray[np.int64]
) -> dict[str, float]:
    """Over the masked genes of all held-out cells; always the same masks."""
    figures = score_masked_genes(objective.model, batches, rows)
    expect_finite(figures["loss"])
    return figures


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
        own = replace(batches, two_views=False)(rows[start : start + _CELLS_SCORED_AT_ONCE])
        tokens, positions, offsets, places, genes = move_inputs(own, device).values()
        batch = PackedBatch(tokens, positions, tuple(offsets.tolist()))
        logits_MV = model(batch, places).float()
        n_genes += len(genes)
        n_right += int((logits_MV.argmax(dim=1) == genes).sum())
        loss += float(functional.cross_entropy(logits_MV, genes, reduction="sum"))
    model.train(was_training)
    return {"loss": loss / n_genes, "accuracy": n_right / n_genes}
