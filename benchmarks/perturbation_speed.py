"""Exact perturbation beside a loop over padded batches of BertForMaskedLM, as published.

The same deletions of the same cells; weights are random, of a published shape. Every measurement is
a process of its own; the sides take turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import describe_machine
from processes import RUNNERS, run_measured
from reporting import markdown_table, spread, write_json

HEADER = ("side", "perturbations/s", "ratio to the first", "peak, MB", "largest difference")


def draw_model(config: Path, dictionaries: Path, folder: Path) -> None:
    """Random weights of a published shape."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from rankformer.vocabulary.vocabulary import Vocabulary

    torch.manual_seed(0)
    BertForMaskedLM(BertConfig.from_json_file(config)).save_pretrained(folder)
    Vocabulary.load(dictionaries).save(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=Path, help="a .h5ad of counts")
    parser.add_argument("--config", type=Path, required=True, help="config.json of a model")
    parser.add_argument("--dictionaries", type=Path, required=True)
    parser.add_argument("--n-cells", type=int, default=2)
    parser.add_argument("--n-edits", type=int, default=200, help="deletions, spread over the cells")
    parser.add_argument("--n-genes", type=int, help="crop cells to so many genes")
    parser.add_argument("--batch-size", type=int, default=100, help="of the padded loop")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        draw_model(arguments.config, arguments.dictionaries, Path(folder))
        base = [
            sys.executable, RUNNERS / "perturbation_runner.py", "--cells", arguments.cells,
            "--model", folder, "--n-cells", arguments.n_cells, "--n-edits", arguments.n_edits,
            "--device", arguments.device, "--batch-size", arguments.batch_size,
        ]  # fmt: skip
        if arguments.n_genes:
            base += ["--n-genes", arguments.n_genes]
        sides = {"BertForMaskedLM, padded": [*base, "--padded"]}
        for dtype in arguments.dtypes:
            sides[f"rankformer, {dtype}"] = [*base, "--dtype", dtype]
        figures: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for number in range(arguments.rounds):
            names = list(sides)[:: -1 if number % 2 else 1]
            for name in names:
                figures[name].append(run_measured(list(map(str, sides[name]))))
    first = figures["BertForMaskedLM, padded"]
    rows = []
    for name, own in figures.items():
        ratios = [a["rate"] / b["rate"] for a, b in zip(own, first, strict=True)]
        apart = np.abs(np.array(own[0]["cosines"]) - np.array(first[0]["cosines"])).max()
        rows.append((
            name, spread(each["rate"] for each in own), spread(ratios),
            spread(each["peak_mb"] for each in own), f"{apart:.1e}",
        ))  # fmt: skip
    print(f"{first[0]['n_edits']} deletions, {first[0]['mean_tokens']:.0f} tokens each.\n")
    print(markdown_table(HEADER, rows))
    if arguments.out:
        for own in figures.values():
            for each in own:
                each.pop("cosines")
        report = {
            "machine": describe_machine(), "config": arguments.config.name,
            "settings": {k: v for k, v in vars(arguments).items() if isinstance(v, int | list)},
            "figures": figures,
            "ratios": {n: median(f["rate"] for f in own) / median(f["rate"] for f in first)
                       for n, own in figures.items()},
        }  # fmt: skip
        write_json(arguments.out, report)


if __name__ == "__main__":
    main()
