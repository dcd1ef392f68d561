"""The card of a trained model: what it saw, how it was trained, how well it does its task."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rankformer.model.spec import EncoderSpec
from rankformer.tokens.token_sources import TokenSource

CARD_FILE, RECORD_FILE = "README.md", "training.json"
_HEADER = """---
library_name: rankformer
tags: [single-cell, geneformer, rank-value-encoding]
---"""
_PACKAGES = ("rankformer", "torch", "transformers", "accelerate", "numpy")


def describe_data(
    sources: Sequence[TokenSource], n_trained: int, n_held_out: int
) -> dict[str, Any]:
    """What is trained on. Files by their names: where they lay says nothing of a model."""
    described = [
        {**source.provenance(), "source": Path(source.name).name, "n_cells": len(source)}
        for source in sources
    ]
    return {"sources": described, "n_trained": n_trained, "n_held_out": n_held_out}


def describe_training(
    *,
    sources: Sequence[Mapping[str, Any]],
    n_trained: int,
    n_held_out: int,
    hyperparameters: Mapping[str, Any],
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
    hyperparameters
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
        "hyperparameters": dict(hyperparameters),
        "log": [dict(entry) for entry in log],
        "versions": {name: version(name) for name in _PACKAGES},
    }


def write_documents(
    name: str,
    spec: EncoderSpec,
    record: Mapping[str, Any],
    *,
    words: str,
    objective: str,
    sections: Sequence[tuple[str, str]],
) -> dict[str, str]:
    """The files that go with a model: file name → text.

    Parameters
    ----------
    name
        Of the model.
    spec
        Its shape.
    record
        From `describe_training`, perhaps with more.
    words
        Paragraphs on what the model is for, put first.
    objective
        A sentence on what was minimised.
    sections
        Titles and Markdown of what comes after the training: its results.
    """
    texts = [
        _HEADER,
        f"# {name}",
        words,
        "## Model",
        _describe_model(spec, record["begun_from"]),
        "## Data",
        _describe_cells(record),
        markdown_table(("source", "cells"), _source_rows(record)),
        "## Training",
        f"{objective} {_describe_training(record)}",
        *(text for title, body in sections for text in (f"## {title}", body)),
        _describe_versions(record),
    ]
    return {CARD_FILE: "\n\n".join(texts), RECORD_FILE: json.dumps(record, indent=2) + "\n"}


def last_figures(folder: Path) -> dict[str, Any]:
    """What the record in the folder of a model says of its end: steps, cells, the last losses."""
    # Of the processes that train together, the first one writes.
    if not (folder / RECORD_FILE).exists():
        return {}
    record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    last: dict[str, Any] = {}
    for entry in record["log"]:
        last |= entry
    names = ("step", "loss", "eval_loss")
    return {
        "n_cells_trained_on": record["cells_trained_on"],
        "n_cells_held_out": record["cells_held_out"],
        **{name: last[name] for name in names if name in last},
    }


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; text in it is escaped."""
    lines = [header, ["---"] * len(header), *([escape(each) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """A name as one cell of a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _describe_model(spec: EncoderSpec, begun_from: str) -> str:
    return (
        f"{spec.n_layers} layers, width {spec.d_model}, {spec.n_heads} heads, feed-forward width "
        f"{spec.d_ff}, inputs of up to {spec.max_positions:,} tokens, {spec.vocab_size:,} tokens. "
        f"Begun from {begun_from}."
    )


def _describe_cells(record: Mapping[str, Any]) -> str:
    trained, held_out = record["cells_trained_on"], record["cells_held_out"]
    return f"{trained:,} cells were there to train on, {held_out:,} were held out."


def _describe_versions(record: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    return f"Versions: {versions}. The whole record is in `{RECORD_FILE}`.\n"


def _describe_training(record: Mapping[str, Any]) -> str:
    own = record["hyperparameters"]
    steps = max((int(entry["step"]) for entry in record["log"] if "step" in entry), default=0)
    added = f" of {own['accumulation']} batches" if own["accumulation"] > 1 else ""
    return (
        f"The training took {steps:,} steps{added}, each batch of {own['batch_size']} cells on "
        f"each device. The optimizer was AdamW with a highest learning rate of "
        f"{own['learning_rate']:g}, reached after {own['warmup_steps']:,} steps of warm-up and "
        f"then falling by the schedule {own['schedule']!r}, and a weight decay of "
        f"{own['weight_decay']:g}. The seed was {own['seed']}."
    )


def _source_rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(each["source"], f"{each['n_cells']:,}") for each in record["sources"]]
