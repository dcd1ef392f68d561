"""The card of a fine-tuned model: what it predicts, how units were split, how good it is."""

import json
from collections.abc import Mapping
from typing import Any

from rankformer.model.heads import Unit
from rankformer.model.spec import EncoderSpec
from rankformer.training.model_card import markdown_table, write_documents

SCORES_FILE = "scores.json"
_CLASSES_TOLD = 20


def write_finetuning_documents(
    name: str, spec: EncoderSpec, record: Mapping[str, Any], unit: Unit, words: str
) -> dict[str, str]:
    """The files that go with a fine-tuned model: file name → text.

    Parameters
    ----------
    name, spec
        Of the model.
    record
        From `describe_training`, with ``heads``, ``split`` and ``scores``.
    unit
        Whether cells or genes get labels.
    words
        Paragraphs on what the model is for.
    """
    heads = markdown_table(
        ("label", "kind", "weight"), [_head_row(each) for each in record["heads"]]
    )
    how = "whole groups" if record["grouped"] else f"single {unit}s"
    parts = ", ".join(f"{n:,} {part}" for part, n in record["split"].items())
    documents = write_documents(
        name, spec, record,
        words=words or f"A Geneformer fine-tuned with rankformer to predict labels of {unit}s.",
        objective=_describe_objective(record["hyperparameters"]),
        sections=[
            ("Labels", heads),
            ("Split", f"{parts} ({unit}s), drawn as {how}. `split.parquet` says which is which."),
            ("Scores", _scores(record["scores"])),
        ],
    )  # fmt: skip
    return {**documents, SCORES_FILE: json.dumps(record["scores"], indent=2) + "\n"}


def _describe_objective(hyperparameters: Mapping[str, Any]) -> str:
    trained = "All weights were trained."
    if hyperparameters["lora_rank"] is not None:
        trained = f"Differences of rank {hyperparameters['lora_rank']} (LoRA) were trained."
    elif hyperparameters["freeze_layers"] == -1:
        trained = "The encoder was frozen, and only the heads were trained."
    elif hyperparameters["freeze_layers"]:
        trained = f"The first {hyperparameters['freeze_layers']} layers were frozen."
    return f"{trained} Mode {hyperparameters['mode']}."


def _head_row(head: Mapping[str, Any]) -> tuple[str, str, str]:
    classes = head["classes"]
    told = ", ".join(classes[:_CLASSES_TOLD]) + (" …" if len(classes) > _CLASSES_TOLD else "")
    kind = f"{len(classes)} classes: {told}" if classes else "a number"
    return head["name"], kind, f"{head['weight']:g}"


def _scores(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    rows = [
        (part, name, key, f"{value:.4f}")
        for part, heads in scores.items()
        for name, figures in heads.items()
        for key, value in figures.items()
    ]
    return markdown_table(("part", "label", "score", "value"), rows)
