"""The card of a trained model: what it saw, how it was trained, how well it does its task."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from rankformer.model.spec import EncoderSpec

CARD_FILE, RECORD_FILE = "README.md", "training.json"
_HEADER = """---
library_name: rankformer
tags: [single-cell, geneformer, rank-value-encoding]
---"""
_PACKAGES = ("rankformer", "torch", "transformers", "accelerate", "numpy")


def describe_training(
    *,
    sources: Sequence[Mapping[str, Any]],
    n_trained: int,
    n_held_out: int,
    recipe: Mapping[str, Any],
    begun_from: str,
    log: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The record of a run, plain values for JSON.

    Parameters
    ----------
    sources
        Provenance of each source.
    n_trained, n_held_out
        Cells trained on, and kept for evaluation.
    recipe
        Its settings.
    begun_from
        ``random weights``, or the checkpoint that was continued.
    log
        Entries of the Trainer: steps with losses, and evaluations.
    """
    return {
        "begun_from": begun_from,
        "cells_trained_on": n_trained,
        "cells_held_out": n_held_out,
        "sources": list(sources),
        "recipe": dict(recipe),
        "log": [dict(entry) for entry in log],
        "versions": {name: version(name) for name in _PACKAGES},
    }


def write_documents(
    name: str, spec: EncoderSpec, record: Mapping[str, Any], words: str = ""
) -> dict[str, str]:
    """The files that go with a model: file name → text.

    Parameters
    ----------
    name
        Of the model.
    spec
        Its shape.
    record
        From `describe_training`.
    words
        Paragraphs on what the model is for, put first.
    """
    return {
        CARD_FILE: _write_card(name, spec, record, words),
        RECORD_FILE: json.dumps(record, indent=2) + "\n",
    }


def _write_card(name: str, spec: EncoderSpec, record: Mapping[str, Any], words: str) -> str:
    return "\n\n".join(
        [
            _HEADER,
            f"# {name}",
            words or "A Geneformer encoder, trained with rankformer.",
            "## Model",
            _describe_model(spec, record["begun_from"]),
            "## Data",
            _describe_cells(record),
            _table(("source", "cells"), _source_rows(record)),
            "## Training",
            _describe_recipe(record),
            "## Masked genes of held-out cells",
            _table(("step", "loss, nats", "accuracy"), _evaluation_rows(record)),
            _describe_versions(record),
        ]
    )


def _describe_model(spec: EncoderSpec, begun_from: str) -> str:
    return (
        f"{spec.n_layers} layers, width {spec.d_model}, {spec.n_heads} heads, feed-forward width "
        f"{spec.d_ff}, inputs of up to {spec.max_positions:,} tokens, {spec.vocab_size:,} tokens. "
        f"Begun from {begun_from}."
    )


def _describe_cells(record: Mapping[str, Any]) -> str:
    trained, held_out = record["cells_trained_on"], record["cells_held_out"]
    return f"{trained:,} cells were trained on, {held_out:,} held out."


def _describe_versions(record: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    return f"Versions: {versions}. The whole record is in `{RECORD_FILE}`.\n"


def _describe_recipe(record: Mapping[str, Any]) -> str:
    recipe = record["recipe"]
    steps = max((int(entry["step"]) for entry in record["log"] if "step" in entry), default=0)
    return (
        f"Objective {recipe['objective']}, {recipe['masked_share']:.0%} of the genes masked. "
        f"{steps:,} steps of {recipe['batch_size']} cells a process, gradients of "
        f"{recipe['accumulation']} batches added up. AdamW, rate {recipe['learning_rate']:g} "
        f"({recipe['schedule']}, {recipe['warmup_steps']:,} steps of warm-up), weight decay "
        f"{recipe['weight_decay']:g}. Seed {recipe['seed']}."
    )


def _source_rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(_escape(each["source"]), f"{each['n_cells']:,}") for each in record["sources"]]


def _evaluation_rows(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (f"{int(each['step']):,}", f"{each['eval_loss']:.4f}", f"{each['eval_accuracy']:.2%}")
        for each in record["log"]
        if "eval_loss" in each
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """A name as one cell of a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
