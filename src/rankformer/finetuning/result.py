"""What comes of a fine-tuning run: a calibrated model, and what it says of the held-out units."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.finetuned import write_finetuned
from rankformer.checkpoints.save import new_checkpoint
from rankformer.embed.embedder import Embedder
from rankformer.finetuning.card import write_finetuning_documents
from rankformer.finetuning.head_outputs import NamedOutputs, scale_numbers
from rankformer.finetuning.hyperparameters import FineTuningHyperparameters
from rankformer.finetuning.labelled_data import LabelledData
from rankformer.model.encoder import Encoder
from rankformer.model.heads import FineTuningLoss, Head, Unit
from rankformer.model.lora import merge_lora
from rankformer.training.metrics import fit_temperature, score_classes, score_numbers, softmax
from rankformer.training.splits import PARTS, PartSplit

logger = logging.getLogger(__name__)
SPLIT_FILE, PREDICTIONS_FILE = "split.parquet", "predictions.parquet"


@dataclass(frozen=True, eq=False)
class FinishedModel:
    """A trained model, with what it says of the units that it was not trained on.

    Attributes
    ----------
    encoder, modules, heads
        The model; differences of low rank are added up, and probabilities calibrated.
    predictions
        A row a unit of the validation and the test part: its name and part and, for each head, its
        label, the prediction and the probabilities.
    scores
        Part → head → score → value.
    """

    encoder: Encoder
    modules: list[nn.Module]
    heads: list[Head]
    predictions: pd.DataFrame
    scores: dict[str, dict[str, dict[str, float]]]


def finish(
    labelled_data: LabelledData,
    split: PartSplit,
    model: Checkpoint,
    objective: FineTuningLoss,
    hyperparameters: FineTuningHyperparameters,
    *,
    device: str,
) -> FinishedModel:
    """Add up, calibrate on the validation part, and score.

    Parameters
    ----------
    labelled_data, split
        What was trained on, and how it was split.
    model
        Where the encoder began.
    objective
        As the trainer left it.
    hyperparameters, device
        How and where.
    """
    encoder = merge_lora(objective.model.encoder)
    modules = [each.cpu() for each in objective.model.heads]
    embedder = Embedder(model, device=device, dtype="float32", encoder=encoder)
    units = np.concatenate([split.validation, split.test])
    outputs = labelled_data.outputs(embedder, modules, hyperparameters.mode, units)
    is_test = np.arange(len(units)) >= len(split.validation)
    _tell_without_output(outputs[0], labelled_data.unit)
    table = labelled_data.table(units).assign(part=np.where(is_test, "test", "validation"))
    heads: list[Head] = []
    scores: dict[str, dict[str, dict[str, float]]] = {"validation": {}, "test": {}}
    for labels, output in zip(labelled_data.labels, outputs, strict=True):
        truth = labels.truth[units]
        known = ~np.isnan(truth) & ~np.isnan(output[:, 0])
        head = _calibrate(labels.head, output, truth, known & ~is_test)
        columns = pd.DataFrame(_predictions(head, output, labels.names[units]), index=table.index)
        table = pd.concat([table, columns], axis=1)
        for part, own in (("validation", known & ~is_test), ("test", known & is_test)):
            if own.any():
                scores[part][head.name] = _score(head, output[own], truth[own])
        heads.append(head)
    return FinishedModel(encoder, modules, heads, table, scores)


def _tell_without_output(output: NDArray[Any], unit: Unit) -> None:
    n_without = int(np.isnan(output[:, 0]).sum())
    if n_without:
        why = "in no cell's input" if unit == "gene" else "without a gene of the vocabulary"
        logger.warning(
            "%s of %s %ss for validation and test are %s: they have no prediction, and the scores "
            "leave them out.", f"{n_without:,}", f"{len(output):,}", unit, why,
        )  # fmt: skip


def _calibrate(
    head: Head, output: NDArray[Any], truth: NDArray[np.float32], validation: NDArray[np.bool_]
) -> Head:
    if not head.classes or not validation.any():
        return head
    own = truth[validation].astype(np.int64)
    return replace(head, temperature=fit_temperature(output[validation], own))


def _predictions(head: Head, output: NDArray[Any], truth: NDArray[np.object_]) -> dict[str, Any]:
    """Columns with the names that `rankformer predict` gives."""
    own = {f"true_{head.name}": truth}
    key = f"predicted_{head.name}"
    if not head.classes:
        return {**own, key: scale_numbers(head, output)}
    named = NamedOutputs.of(head, output)
    shares = {
        f"{key}_probability_{name}": named.probabilities[:, i]
        for i, name in enumerate(head.classes)
    }
    return {**own, key: named.names, f"{key}_probability": named.probability, **shares}


def _score(head: Head, output: NDArray[Any], truth: NDArray[np.float32]) -> dict[str, float]:
    if head.classes:
        probabilities = softmax(output, head.temperature)
        return score_classes(probabilities, truth.astype(np.int64), head.classes)
    return score_numbers(scale_numbers(head, output), scale_numbers(head, truth[:, None]))


def write_finished(
    output: Path,
    finished: FinishedModel,
    labelled_data: LabelledData,
    split: PartSplit,
    model: Checkpoint,
    hyperparameters: FineTuningHyperparameters,
    record: Mapping[str, Any],
    words: str,
) -> None:
    """Write the folder of a fine-tuned model, whole or not at all.

    Parameters
    ----------
    output, finished
        Where, and what.
    labelled_data, split, model, hyperparameters
        As for `finish`.
    record
        From `describe_training`.
    words
        Paragraphs on what the model is for.
    """
    table = labelled_data.split_table(split)
    more = {
        "heads": [asdict(head) for head in finished.heads],
        "split": {part: len(getattr(split, part)) for part in PARTS},
        "scores": finished.scores,
    }
    documents = write_finetuning_documents(
        output.name, model.spec, {**record, **more}, labelled_data.unit, words
    )
    with new_checkpoint(output) as folder:
        write_finetuned(
            folder, finished.encoder, finished.heads, finished.modules, model.vocabulary,
            unit=labelled_data.unit, mode=hyperparameters.mode, documents=documents,
        )  # fmt: skip
        table.to_parquet(folder / SPLIT_FILE, index=False)
        finished.predictions.to_parquet(folder / PREDICTIONS_FILE, index=False)
