"""Pretraining beside transformers' BertForMaskedLM: tokens a second on the same masked cells.

One step is forward, backward and AdamW. The sides take turns, step by step, on batches of the same
cells: packed, as rankformer does; BertForMaskedLM, padded to the longest cell of a batch; and the
same with batches grouped by length. Tokens counted are those of the cells; padding is none.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, load_average
from reporting import markdown_table, spread, write_json
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from rankformer import Encoder, EncoderSpec, MaskedLanguageModel, ReadingOptions, Vocabulary
from rankformer.model.objective import PretrainingObjective
from rankformer.model.weights import hugging_face_tensors
from rankformer.tasks.pretrain import published_shape
from rankformer.tasks.pretraining_batches import MaskedBatches
from rankformer.tasks.tokenize import open_tokens
from rankformer.tasks.training_cells import gather_training_cells

OURS, PADDED, GROUPED = "rankformer, packed", "BertForMaskedLM, padded", "the same, by length"
HEADER = ("side", "tokens/s", "CPU s a step", "times padded", "loss of the first step")


@dataclass
class Side:
    """A model that takes steps, and what they took."""

    model: torch.nn.Module
    batches: list[dict[str, Tensor]]
    n_tokens: list[int]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.001)

    def step(self, turn: int) -> None:
        """Forward, backward, update."""
        began, cpu = time.perf_counter(), time.process_time()
        loss = self.model(**self.batches[turn])["loss"]
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(float(loss.detach()))
        self.seconds.append(time.perf_counter() - began)
        self.cpu_seconds.append(time.process_time() - cpu)


def pad(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same masked cells as padded rows, with labels as transformers wants them."""
    tokens, offsets = batch["tokens"], batch["offsets"].tolist()
    labels = torch.full_like(tokens, -100).index_copy(0, batch["places"], batch["genes"])
    rows = [slice(*pair) for pair in pairwise(offsets)]
    stack = torch.nn.utils.rnn.pad_sequence
    padded = stack([tokens[row] for row in rows], batch_first=True)
    return {
        "input_ids": padded,
        "attention_mask": (padded != 0).long(),
        "labels": stack([labels[row] for row in rows], batch_first=True, padding_value=-100),
    }


def make_batches(make: MaskedBatches, orders: Iterator[np.ndarray]) -> list[dict[str, Tensor]]:
    """Masked batches of the cells at these rows."""
    return [make(rows) for rows in orders]


def make_sides(arguments: argparse.Namespace, vocabulary: Vocabulary) -> dict[str, Side]:
    """All sides, of equal weights, with batches of the same cells."""
    options = ReadingOptions(gene_ids="ensembl_id")
    cells = gather_training_cells([open_tokens(arguments.cells, vocabulary, options)])
    make = MaskedBatches(cells, seed=0)
    shape = {**published_shape(arguments.model), "dropout": 0.0, "attention_dropout": 0.0}
    if arguments.dropout:
        shape = published_shape(arguments.model)
    spec = EncoderSpec(vocab_size=vocabulary.size, max_positions=vocabulary.input_length, **shape)
    torch.manual_seed(0)
    ours = MaskedLanguageModel(Encoder(spec))
    n_cells = arguments.steps * arguments.batch_size
    rows = np.random.default_rng(0).permutation(len(cells))[:n_cells]
    lengths = np.diff(cells.take(rows)[1])
    by_length = rows[np.argsort(lengths, kind="stable")]
    mixed = make_batches(make, iter(rows.reshape(arguments.steps, -1)))
    grouped = make_batches(make, iter(by_length.reshape(arguments.steps, -1)))
    config = BertConfig(**{**spec.to_config(), "architectures": None})
    sides = {OURS: Side(PretrainingObjective(ours, [0, 1]).train(), mixed, count(mixed))}
    for name, batches in ((PADDED, mixed), (GROUPED, grouped)):
        bert = BertForMaskedLM(config).train()
        bert.load_state_dict(hugging_face_tensors(ours), strict=False)
        sides[name] = Side(bert, list(map(pad, batches)), count(batches))
    return sides


def count(batches: list[dict[str, Tensor]]) -> list[int]:
    """Tokens of the cells of each batch."""
    return [int(batch["offsets"][-1]) for batch in batches]


def measure(sides: dict[str, Side], steps: int) -> None:
    """All sides take their steps in turn; the order turns round from one step to the next."""
    for turn in range(steps):
        names = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        for name in names:
            sides[name].step(turn)
            print(f"step {turn + 1}: {name}, {sides[name].seconds[-1]:.2f} s", flush=True)


def rates(side: Side) -> list[float]:
    """Tokens a second of each step, the first left out: it sets up."""
    return [n / s for n, s in zip(side.n_tokens[1:], side.seconds[1:], strict=True)]


def show(sides: dict[str, Side]) -> str:
    """The table. Ratios are of the whole run: tokens over seconds, after the first step."""
    whole = {name: sum(side.n_tokens[1:]) / sum(side.seconds[1:]) for name, side in sides.items()}
    rows = [
        [
            name, f"{whole[name]:,.0f}; {spread(rates(side))}", spread(side.cpu_seconds[1:]),
            f"{whole[name] / whole[PADDED]:.2f}", f"{side.losses[0]:.4f}",
        ]
        for name, side in sides.items()
    ]  # fmt: skip
    return markdown_table(HEADER, rows)


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="raw counts, var['ensembl_id']")
    parser.add_argument("--dictionaries", type=Path, required=True, help="published V1 pickles")
    parser.add_argument("--model", default="gf-6L-30M-i2048", help="whose shape to train")
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dropout", action="store_true", help="train with the published dropout")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {"machine": describe_machine(), "load_before": load_average()}
    report["settings"] = {key: str(value) for key, value in vars(arguments).items() if key != "out"}
    report["settings"]["cells"] = arguments.cells.name
    report["settings"].pop("dictionaries")
    vocabulary = Vocabulary.load(arguments.dictionaries)
    sides = make_sides(arguments, vocabulary)
    measure(sides, arguments.steps)
    report["sides"] = {
        name: {"tokens": side.n_tokens, "seconds": side.seconds, "losses": side.losses}
        for name, side in sides.items()
    }
    write_json(arguments.out, report)
    print(show(sides))


if __name__ == "__main__":
    main()
