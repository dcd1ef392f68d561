"""Fine-tuning in the hands of `PackedTrainer`: what is trained, which losses, when it ends."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.errors import SettingsError
from rankformer.finetuning.batches import LabelledBatches
from rankformer.finetuning.hyperparameters import LORA_ALPHA, FineTuningHyperparameters
from rankformer.model.encoder import Encoder
from rankformer.model.heads import (
    FineTuningLoss,
    HeadedEncoder,
    Loss,
    Unit,
    cross_entropy,
    draw_head,
    squared_error,
)
from rankformer.model.lora import add_lora
from rankformer.training.callbacks import JudgeLastStep
from rankformer.training.inputs import Inputs, move_inputs
from rankformer.training.labels import Labels
from rankformer.training.metrics import score_classes, score_numbers, softmax
from rankformer.training.packed_trainer import Draws, PackedTrainer, expect_finite
from rankformer.vocabulary.vocabulary import Vocabulary

_CELLS_AT_ONCE = 32


def make_model(
    encoder: Encoder,
    modules: Sequence[nn.Module],
    vocabulary: Vocabulary,
    hyperparameters: FineTuningHyperparameters,
    unit: Unit,
) -> HeadedEncoder:
    """An encoder with heads, frozen or with differences of low rank as the hyperparameters say.

    Raises
    ------
    SettingsError
        If the hyperparameters do not fit the model.
    """
    _check_mode(vocabulary, hyperparameters)
    encoder.recompute = hyperparameters.recompute
    _freeze(encoder, hyperparameters.freeze_layers)
    trained: nn.Module = encoder
    if hyperparameters.lora_rank is not None:
        trained = add_lora(
            encoder,
            hyperparameters.lora_rank,
            hyperparameters.lora_alpha or LORA_ALPHA,
            hyperparameters.dropout,
        )
    return HeadedEncoder(
        trained, modules, unit=unit, mode=hyperparameters.mode, dropout=hyperparameters.dropout,
        special_tokens=list(vocabulary.special_tokens.values()),
    )  # fmt: skip


def draw_loss(
    checkpoint: Checkpoint,
    labels: Sequence[Labels],
    rows: NDArray[np.int64],
    hyperparameters: FineTuningHyperparameters,
    unit: Unit,
) -> FineTuningLoss:
    """A checkpoint's encoder with newly drawn heads, and their losses.

    Parameters
    ----------
    checkpoint
        Where the encoder begins.
    labels
        What each head learns.
    rows
        Positions of the units that are trained on: they decide class weights.
    hyperparameters, unit
        How, and whether cells or genes are labelled.
    """
    torch.manual_seed(hyperparameters.seed)
    spec = checkpoint.spec
    modules = [
        draw_head(spec.d_model, each.head.n_outputs, spec.initializer_range) for each in labels
    ]
    model = make_model(checkpoint.encoder(), modules, checkpoint.vocabulary, hyperparameters, unit)
    losses = [_loss(each, rows, hyperparameters) for each in labels]
    return FineTuningLoss(model, losses, [each.head.weight for each in labels])


def make_trainer(
    objective: FineTuningLoss | None,
    arguments: TrainingArguments,
    batches: LabelledBatches,
    draws: Draws,
    *,
    validation: Callable[[FineTuningLoss], dict[str, float]] | None,
    patience: int | None = None,
    **more: Any,
) -> PackedTrainer:
    """A trainer of an objective.

    Parameters
    ----------
    objective, arguments
        What to train, and how.
    batches, draws
        Make the batches, of which cells.
    validation
        Evaluates.
    patience
        Evaluations without a better loss after which it ends.
    **more
        Further arguments of the `Trainer`.
    """
    callbacks: list[TrainerCallback] = [JudgeLastStep()]
    if patience is not None:
        callbacks.append(EarlyStoppingCallback(patience))
    return PackedTrainer(
        objective, arguments, draws=draws, make_batch=batches, measure=validation,
        callbacks=callbacks, drop_last=False, **more,
    )  # fmt: skip


def draw_cells(
    rows: NDArray[np.int64],
    n_cells: int,
    labels: Labels,
    hyperparameters: FineTuningHyperparameters,
) -> Draws:
    """The cells to train on in a random order, each class equally often where that is asked."""
    if not hyperparameters.balanced_sampling:
        return Draws(rows, n_cells, hyperparameters.seed)
    codes = np.where(labels.known[rows], labels.truth[rows], -1).astype(np.int64)
    names, own, counts = np.unique(codes, return_inverse=True, return_counts=True)
    chances = 1.0 / counts[own]
    # Cells without this label are drawn in proportion: they may have others.
    unlabelled = codes < 0
    chances[unlabelled] = (names >= 0).sum() / max((~unlabelled).sum(), 1)
    return Draws(rows, n_cells, hyperparameters.seed, chances)


def measure_in(batches: LabelledBatches, rows: NDArray[np.int64], labels: Sequence[Labels]) -> Any:
    """A function that evaluates an objective on the cells at `rows`."""
    return partial(_measure, batches=batches, rows=rows, labels=labels)


@torch.inference_mode()
def _measure(
    objective: FineTuningLoss,
    batches: LabelledBatches,
    rows: NDArray[np.int64],
    labels: Sequence[Labels],
) -> dict[str, float]:
    """Loss over all heads, and scores of each."""
    was_training = objective.training
    objective.eval()
    if batches.of_genes:
        n_outputs = labels[0].head.n_outputs
        joined, all_truth = _gene_outputs(objective, batches, rows, n_outputs)
    else:
        joined, all_truth = _cell_outputs(objective, batches, rows)
    objective.train(was_training)
    scores = {"loss": expect_finite(float(objective.loss(joined, all_truth)))}
    for each, output, own in zip(labels, joined, all_truth, strict=True):
        scores.update(_score(each, output.cpu().numpy(), own.cpu().numpy(), len(labels) > 1))
    return scores


def _in_batches(
    objective: FineTuningLoss, batches: LabelledBatches, rows: NDArray[np.int64]
) -> Iterator[Inputs]:
    """Inputs of the objective, on its device."""
    device = next(objective.parameters()).device
    for start in range(0, len(rows), _CELLS_AT_ONCE):
        yield move_inputs(batches(rows[start : start + _CELLS_AT_ONCE]), device)


def _cell_outputs(
    objective: FineTuningLoss, batches: LabelledBatches, rows: NDArray[np.int64]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Outputs of each head for each cell, and its labels."""
    outputs: list[list[torch.Tensor]] = []
    truth: list[torch.Tensor] = []
    for inputs in _in_batches(objective, batches, rows):
        outputs.append(objective.outputs(**inputs))
        truth.append(inputs["truth"])
    return [torch.cat(parts) for parts in zip(*outputs, strict=True)], torch.cat(truth, dim=1)


def _gene_outputs(
    objective: FineTuningLoss,
    batches: LabelledBatches,
    rows: NDArray[np.int64],
    n_outputs: int,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Mean outputs for each gene over those of the cells that have it, and its label."""
    truth = torch.from_numpy(batches.truth)
    sums, n_places = torch.zeros(truth.shape[1], n_outputs), torch.zeros(truth.shape[1])
    for inputs in _in_batches(objective, batches, rows):
        (output,) = objective.outputs(**inputs)
        tokens = inputs["tokens"][inputs["places"]].cpu()
        sums.index_add_(0, tokens, output.cpu())
        n_places += torch.bincount(tokens, minlength=truth.shape[1])
    seen = n_places > 0
    if not seen.any():
        raise SettingsError(
            f"None of the genes to validate on is in the {len(rows):,} cells that they are "
            "validated in.",
            "At least one, to decide when to stop.",
            "Pass more cells or genes, raise validation_share (--validation-share), or choose "
            "another seed.",
        )
    return [sums[seen] / n_places[seen, None]], truth[:, seen]


def _score(
    labels: Labels, outputs: NDArray[np.float32], truth: NDArray[np.float32], is_one_of_many: bool
) -> Mapping[str, float]:
    known = ~np.isnan(truth)
    if not known.any():
        return {}
    if labels.head.classes:
        classes = labels.head.classes
        scores = score_classes(softmax(outputs[known]), truth[known].astype(np.int64), classes)
        kept = {name: scores[name] for name in ("accuracy", "macro_f1")}
    else:
        kept = {"r2": score_numbers(outputs[known, 0], truth[known]).get("r2", float("nan"))}
    before = f"{labels.head.name}_" if is_one_of_many else ""
    return {f"{before}{name}": value for name, value in kept.items()}


def _loss(
    labels: Labels, rows: NDArray[np.int64], hyperparameters: FineTuningHyperparameters
) -> Loss:
    if not labels.head.classes:
        return squared_error
    weights = None
    if hyperparameters.class_weights:
        own = labels.truth[rows][labels.known[rows]].astype(np.int64)
        counts = np.bincount(own, minlength=len(labels.head.classes))
        inverse = len(own) / (np.maximum(counts, 1) * np.count_nonzero(counts))
        weights = torch.from_numpy(np.where(counts > 0, inverse, 1.0).astype(np.float32))
    return cross_entropy(weights, hyperparameters.label_smoothing)


def _check_mode(vocabulary: Vocabulary, hyperparameters: FineTuningHyperparameters) -> None:
    if hyperparameters.mode == "cls" and vocabulary.cls_token is None:
        raise SettingsError(
            "Mode cls was asked for, and the model has no <cls> token.",
            "A V2 model: V1 models were trained without special tokens.",
            'Use mode "cell" (--mode cell), or a model named …-i4096.',
        )


def _freeze(encoder: Encoder, n_layers: int) -> None:
    depth = encoder.spec.n_layers
    if n_layers > depth:
        raise SettingsError(
            f"{n_layers} layers were to be frozen, of {depth}.",
            f"At most {depth}, or -1 for all of them.",
            "Correct freeze_layers (--freeze-layers).",
        )
    n_frozen = depth if n_layers == -1 else n_layers
    frozen = [encoder.embeddings, *encoder.layers[:n_frozen]] if n_frozen else []
    for module in frozen:
        module.requires_grad_(False)
