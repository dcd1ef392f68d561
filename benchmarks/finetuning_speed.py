"""Fine-tuning beside transformers' BertForSequenceClassification: cells a second, and memory.

One step is forward, backward and AdamW on the same labelled cells, of equal weights: packed, as
rankformer does; and padded to the longest cell of a batch, as most people write it. The sides take
turns, step by step. Memory is the peak of a process of its own, less what it had before the model.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from machine import describe_machine, load_average
from reporting import markdown_table, short, spread, write_json
from transformers import BertConfig, BertForSequenceClassification

from pretraining import Side, measure
from rankformer import Encoder, EncoderSpec, MaskedLanguageModel, ReadingOptions, Vocabulary
from rankformer.checkpoints.weights import hugging_face_tensors
from rankformer.finetuning.batches import LabelledBatches
from rankformer.model.heads import FineTuningLoss, HeadedEncoder, cross_entropy, draw_head
from rankformer.pretraining.pretrain import published_shape
from rankformer.tokens.tokenize import open_tokens
from rankformer.training.cells import gather_training_cells
from rankformer.training.inputs import Inputs
from rankformer.training.labels import read_classes

OURS, PADDED = "rankformer, packed", "BertForSequenceClassification, padded"
HEADER = ("side", "cells/s", "times padded", "peak memory, MB", "loss of the first step")


def pad(batch: Inputs) -> Inputs:
    """The same cells as padded rows."""
    rows = [slice(*pair) for pair in pairwise(batch["offsets"].tolist())]
    cells = [batch["tokens"][row] for row in rows]
    padded = torch.nn.utils.rnn.pad_sequence(cells, batch_first=True)
    labels = batch["truth"][0].long()
    return {"input_ids": padded, "attention_mask": (padded != 0).long(), "labels": labels}


def make_side(name: str, arguments: argparse.Namespace) -> Side:
    """One side with its batches; all sides have the same cells and encoder."""
    vocabulary = Vocabulary.load(arguments.dictionaries)
    options = ReadingOptions(gene_ids="ensembl_id")
    cells = gather_training_cells([open_tokens(arguments.cells, vocabulary, options)])
    labels = read_classes(cells.obs[arguments.label], arguments.label)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(labels.known))
    rows = rows[: arguments.steps * arguments.batch_size].reshape(arguments.steps, -1)
    make = LabelledBatches(cells, labels.truth[None])
    batches = [make(each) for each in rows]
    shape = {**published_shape(arguments.model), "dropout": 0.0, "attention_dropout": 0.0}
    spec = EncoderSpec(vocab_size=vocabulary.size, max_positions=vocabulary.input_length, **shape)
    torch.manual_seed(0)
    encoder, n_classes = Encoder(spec), len(labels.head.classes)
    n_cells = [len(each) for each in rows]
    if name == OURS:
        head = draw_head(spec.d_model, n_classes, spec.initializer_range)
        special = list(vocabulary.special_tokens.values())
        model = HeadedEncoder(encoder, [head], unit="cell", mode="cell",
                              special_tokens=special, dropout=0.0)  # fmt: skip
        objective = FineTuningLoss(model, [cross_entropy()], [1.0]).train()
        return Side(objective, batches, n_cells)
    config = BertConfig(**{**spec.to_config(), "architectures": None, "num_labels": n_classes})
    bert = BertForSequenceClassification(config).train()
    bert.load_state_dict(hugging_face_tensors(MaskedLanguageModel(encoder)), strict=False)
    return Side(bert, list(map(pad, batches)), n_cells)


def peak_memory(name: str) -> float:
    """MB that a process needs for two steps, beyond what it has before the model is made."""
    words = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def report_memory(name: str, arguments: argparse.Namespace) -> None:
    before = psutil.Process().memory_info().rss / 1e6
    side = make_side(name, arguments)
    for turn in range(2):
        side.step(turn)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps(peak - before))


def rates(side: Side) -> list[float]:
    """Cells a second of each step, the first left out: it sets up."""
    return [n / s for n, s in zip(side.n_tokens[1:], side.seconds[1:], strict=True)]


def show(sides: dict[str, Side], memory: dict[str, float]) -> str:
    """The table. Ratios are of the whole run, after the first step."""
    whole = {name: sum(side.n_tokens[1:]) / sum(side.seconds[1:]) for name, side in sides.items()}
    rows = [
        [
            name, f"{short(whole[name])}; {spread(rates(side))}",
            f"{whole[name] / whole[PADDED]:.2f}", f"{memory[name]:,.0f}", f"{side.losses[0]:.4f}",
        ]
        for name, side in sides.items()
    ]  # fmt: skip
    return markdown_table(HEADER, rows)


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="raw counts, var['ensembl_id']")
    parser.add_argument("--label", default="cell_type", help="a column of obs")
    parser.add_argument("--dictionaries", type=Path, required=True, help="published V1 pickles")
    parser.add_argument("--model", default="gf-6L-30M-i2048", help="whose shape to train")
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-of", choices=(OURS, PADDED), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        report_memory(arguments.memory_of, arguments)
        return
    report: dict[str, Any] = {"machine": describe_machine(), "load_before": load_average()}
    report["settings"] = {
        key: getattr(arguments, key) for key in ("model", "batch_size", "steps", "threads")
    } | {"cells": arguments.cells.name}
    memory = {name: peak_memory(name) for name in (OURS, PADDED)}
    sides = {name: make_side(name, arguments) for name in (OURS, PADDED)}
    measure(sides, arguments.steps)
    report["sides"] = {
        name: {
            "cells": side.n_tokens, "seconds": side.seconds, "losses": side.losses,
            "peak_memory_mb": memory[name],
        }
        for name, side in sides.items()
    }  # fmt: skip
    write_json(arguments.out, report)
    print(show(sides, memory))


if __name__ == "__main__":
    main()
