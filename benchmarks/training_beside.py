"""One checkout beside another: steps of pretraining and fine-tuning, in turns, on the same cells.

Cells are made up, weights are random, and the shape is that of gf-6L-30M-i2048. What is imported is
each checkout's own ``src``. A step is forward, backward and AdamW; the first is not counted. It
tells whether a change made training slower: `training_beside.py --before OTHER/src`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from machine import describe_machine, load_average
from reporting import markdown_table, spread, write_json

HERE = Path(__file__).resolve().parents[1] / "src"
HEADER = ("cells of a step", "CPU s before", "CPU s now", "ratio", "wall, ratio", "memory, ratio")
# Task, cells, their mean length, dropout.
CASES = {
    "pretraining, 32 of 100 tokens": ("pretraining", 32, 100, 0.0),
    "the same with dropout": ("pretraining", 32, 100, 0.02),
    "pretraining, 6 of 800 tokens": ("pretraining", 6, 800, 0.0),
    "these with dropout": ("pretraining", 6, 800, 0.02),
    "pretraining, 3 of 2,000 tokens, with dropout": ("pretraining", 3, 2000, 0.02),
    "fine-tuning, 12 of 300 tokens, with dropout": ("fine-tuning", 12, 300, 0.02),
}
WORK = """
import json, resource, sys, time
from types import SimpleNamespace
import numpy as np, torch
from rankformer import Encoder, EncoderSpec, MaskedLanguageModel, Vocabulary
from rankformer.finetuning.batches import LabelledBatches
from rankformer.model.heads import FineTuningLoss, HeadedEncoder, cross_entropy, draw_head
from rankformer.pretraining.batches import MaskedBatches
from rankformer.pretraining.loss import PretrainingLoss

task, n_cells, length, dropout, n_steps, n_threads = json.loads(sys.argv[1])
torch.set_num_threads(n_threads)
genes = [f"ENSG{i:011d}" for i in range(1, 25_001)]
tokens = {name: token for token, name in enumerate(["<pad>", "<mask>", *genes])}
vocabulary = Vocabulary.from_tables(
    tokens, dict.fromkeys(genes, 1.0), input_length=2048, name="made up"
)
spec = EncoderSpec(len(tokens), 6, 256, 4, 512, max_positions=2048, dropout=dropout,
                   attention_dropout=dropout)
torch.manual_seed(0)
encoder = Encoder(spec)

class Cells:
    def __init__(self, rng):
        self.vocabulary = vocabulary
        least, most = int(0.7 * length), min(int(1.3 * length), 2048)
        lengths = rng.integers(least, most + 1, n_cells)
        self.offsets = np.cumsum([0, *lengths])
        self.values = rng.choice(vocabulary.tokens, self.offsets[-1]).astype(np.int32)
    def __len__(self):
        return n_cells
    def take(self, rows):
        return self.values, self.offsets

steps = [Cells(np.random.default_rng(seed)) for seed in range(n_steps + 1)]
if task == "pretraining":
    objective = PretrainingLoss(MaskedLanguageModel(encoder), [0, 1])
    batches = [MaskedBatches(each, seed=0, masked_share=0.15)(range(n_cells)) for each in steps]
else:
    model = HeadedEncoder(encoder, [draw_head(256, 8, 0.02)], unit="cell", mode="cell",
                          special_tokens=[0, 1], dropout=dropout)
    objective = FineTuningLoss(model, [cross_entropy()], [1.0])
    truth = (np.arange(n_cells) % 8).astype(np.float32)[None]
    batches = [LabelledBatches(each, truth)(range(n_cells)) for each in steps]
objective.train()
optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-4, fused=True)
for number, batch in enumerate(batches):
    if number == 1:
        began = time.perf_counter(), time.process_time()
    objective(**batch)["loss"].backward()
    optimizer.step()
    optimizer.zero_grad()
ended = time.perf_counter(), time.process_time()
wall, cpu = ((b - a) / n_steps for a, b in zip(began, ended))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
print(json.dumps({"wall_s": wall, "cpu_s": cpu, "peak_mb": peak}))
"""


def measure(source: Path, case: tuple[str, int, int, float], steps: int, threads: int) -> Any:
    """Seconds of a step of one checkout, and the peak of its process."""
    words = json.dumps([*case, steps, threads])
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_WAIT_POLICY": "PASSIVE"}
    run = subprocess.run(
        [sys.executable, "-c", WORK, words], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return json.loads(run.stdout.splitlines()[-1])


def main() -> int:
    """Measure both in turns, the first of a round changing, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="src of the other checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sides = {"before": arguments.before, "now": HERE}
    found: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {side: [] for side in sides} for name in CASES
    }
    load = load_average()
    for turn in range(arguments.rounds):
        for name, case in CASES.items():
            for side in list(sides) if turn % 2 else list(sides)[::-1]:
                figures = measure(sides[side], case, arguments.steps, arguments.threads)
                found[name][side].append(figures)
                print(turn, name, side, figures, file=sys.stderr, flush=True)
    print(markdown_table(HEADER, [_row(name, each) for name, each in found.items()]))
    if arguments.out:
        report = {"machine": describe_machine(), "load": [load, load_average()], "figures": found}
        write_json(arguments.out, report)
    return 0


def _row(name: str, sides: dict[str, list[dict[str, float]]]) -> list[str]:
    def ratio(key: str) -> str:
        now, before = (median(each[key] for each in sides[side]) for side in ("now", "before"))
        return f"{now / before:.2f}"

    cpu = (spread([each["cpu_s"] for each in sides[side]]) for side in ("before", "now"))
    return [name, *cpu, ratio("cpu_s"), ratio("wall_s"), ratio("peak_mb")]


if __name__ == "__main__":
    sys.exit(main())
