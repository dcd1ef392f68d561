"""Pretraining beside transformers' BertForMaskedLM: tokens a second on the same masked cells.

One step is forward, backward and AdamW. The sides take turns, step by step, on batches of the same
cells: packed, as rankformer does; BertForMaskedLM, padded to the longest cell of a batch; and the
same with batches grouped by length. Tokens counted are those of the cells; padding is none.

Operations of a step are those of three forward passes (backward takes two), of the cells' tokens
and masked genes alone; their rate is held against that of one large matrix product, measured in
the same run, device and dtype.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, load_average
from reporting import markdown_table, short, spread, write_json
from training_flops import PRODUCT_SIZE, product_rate, step_flops
from transformers import BertConfig, BertForMaskedLM

from rankformer import Encoder, EncoderSpec, MaskedLanguageModel, ReadingOptions, Vocabulary
from rankformer.checkpoints.weights import hugging_face_tensors
from rankformer.pretraining.batches import MaskedBatches
from rankformer.pretraining.loss import PretrainingLoss
from rankformer.pretraining.pretrain import published_shape
from rankformer.tokens.tokenize import open_tokens
from rankformer.training.cells import gather_training_cells
from rankformer.training.inputs import Inputs, move_inputs

OURS, PADDED, GROUPED = "rankformer, packed", "BertForMaskedLM, padded", "the same, by length"
HEADER = (
    "side", "tokens/s", "CPU s a step", "times padded", "TFLOP/s", "share of a product's",
    "loss of the first step",
)  # fmt: skip
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Packing = Callable[[Inputs], Inputs]


@dataclass
class Side:
    """A model that takes steps, and what they took."""

    model: torch.nn.Module
    batches: list[Inputs]
    n_tokens: list[int]
    flops: list[int] = field(default_factory=list)
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model.to(self.device)
        self.batches = [move_inputs(batch, self.device) for batch in self.batches]
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.001)

    def step(self, turn: int) -> None:
        """Forward, backward, update; reading the loss waits for the device."""
        began, cpu = time.perf_counter(), time.process_time()
        is_mixed = self.dtype != torch.float32
        with torch.autocast(self.device, self.dtype, enabled=is_mixed):
            loss = self.model(**self.batches[turn])["loss"]
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(float(loss.detach()))
        self.seconds.append(time.perf_counter() - began)
        self.cpu_seconds.append(time.process_time() - cpu)


def pad(batch: Inputs) -> Inputs:
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


def make_batches(make: MaskedBatches, orders: Iterator[np.ndarray]) -> list[Inputs]:
    """Masked batches of the cells at these rows."""
    return [make(rows) for rows in orders]


def make_sides(
    arguments: argparse.Namespace, vocabulary: Vocabulary, spec: EncoderSpec
) -> dict[str, Side]:
    """All sides, of equal weights, with batches of the same cells."""
    options = ReadingOptions(gene_ids="ensembl_id")
    cells = gather_training_cells([open_tokens(arguments.cells, vocabulary, options)])
    make = MaskedBatches(cells, seed=0, masked_share=0.15)
    torch.manual_seed(0)
    ours = MaskedLanguageModel(Encoder(spec))
    n_cells = arguments.steps * arguments.batch_size
    rows = np.random.default_rng(0).permutation(len(cells))[:n_cells]
    lengths = np.diff(cells.take(rows)[1])
    by_length = rows[np.argsort(lengths, kind="stable")]
    mixed = make_batches(make, iter(rows.reshape(arguments.steps, -1)))
    grouped = make_batches(make, iter(by_length.reshape(arguments.steps, -1)))

    def make_side(model: torch.nn.Module, batches: list[Inputs], pack: Packing) -> Side:
        tokens = [int(batch["offsets"][-1]) for batch in batches]
        flops = [step_flops(spec, batch) for batch in batches]
        dtype = _DTYPES[arguments.dtype]
        return Side(model, list(map(pack, batches)), tokens, flops, arguments.device, dtype)

    sides = {OURS: make_side(PretrainingLoss(ours, [0, 1]).train(), mixed, dict)}
    config = BertConfig(**{**spec.to_config(), "architectures": None})
    for name, batches in ((PADDED, mixed), (GROUPED, grouped)):
        bert = BertForMaskedLM(config).train()
        bert.load_state_dict(hugging_face_tensors(ours), strict=False)
        sides[name] = make_side(bert, batches, pad)
    return sides


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


def show(sides: dict[str, Side], product: float) -> str:
    """The table. Rates are of the whole run, after the first step; `product` is in FLOP/s."""
    seconds = {name: sum(side.seconds[1:]) for name, side in sides.items()}
    whole = {name: sum(side.n_tokens[1:]) / seconds[name] for name, side in sides.items()}
    flops = {name: sum(side.flops[1:]) / seconds[name] for name, side in sides.items()}
    rows = [
        [
            name, f"{whole[name]:,.0f}; {spread(rates(side))}", spread(side.cpu_seconds[1:]),
            f"{whole[name] / whole[PADDED]:.2f}", short(flops[name] / 1e12),
            short(flops[name] / product), f"{side.losses[0]:.4f}",
        ]
        for name, side in sides.items()
    ]  # fmt: skip
    return markdown_table(HEADER, rows)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="raw counts, var['ensembl_id']")
    parser.add_argument("--dictionaries", type=Path, required=True, help="published V1 pickles")
    parser.add_argument("--model", default="gf-6L-30M-i2048", help="whose shape to train")
    parser.add_argument("--device", choices=PRODUCT_SIZE, default="cpu")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32", help="bfloat16: autocast")
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dropout", action="store_true", help="train with the published dropout")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    return parser.parse_args()


def main() -> None:
    """Measure, write the JSON, print the table."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {"machine": describe_machine(), "load_before": load_average()}
    report["settings"] = {key: str(value) for key, value in vars(arguments).items() if key != "out"}
    report["settings"]["cells"] = arguments.cells.name
    report["settings"].pop("dictionaries")
    vocabulary = Vocabulary.load(arguments.dictionaries)
    shape = published_shape(arguments.model)
    if not arguments.dropout:
        shape |= {"dropout": 0.0, "attention_dropout": 0.0}
    spec = EncoderSpec(vocab_size=vocabulary.size, max_positions=vocabulary.input_length, **shape)
    sides = make_sides(arguments, vocabulary, spec)
    product = product_rate(arguments.device, _DTYPES[arguments.dtype])
    measure(sides, arguments.steps)
    report["product_flops_per_second"] = product
    report["sides"] = {
        name: {
            "tokens": side.n_tokens, "flops": side.flops, "seconds": side.seconds,
            "losses": side.losses,
        }
        for name, side in sides.items()
    }  # fmt: skip
    write_json(arguments.out, report)
    print(show(sides, product))


if __name__ == "__main__":
    main()
