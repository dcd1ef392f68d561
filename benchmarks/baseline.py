"""rankformer beside Helical and a plain BertModel: same cells, same weights, same threads.

Runs with rankformer's Python. Every measurement is a process of its own, one after the other; the
sides take turns, in an order that turns round from one round to the next.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from processes import RUNNERS, run_measured
from reporting import markdown_table, spread, write_json

PEERS = Path(__file__).resolve().parent / "peers"
REFERENCE = "helical"
HEADER = (
    "model", "side", "whole process, s", "start and imports, s", "tokenize, cells/s",
    "embed, s", "embed, cells/s", "embed, tokens/s", "embed, CPU s", "peak, MB",
)  # fmt: skip
RATIO_HEADER = (
    "model", "side / helical", "embed, cells/s", "embed, CPU s", "whole process, s", "peak, MB",
    "cells of equal tokens", "largest difference", "least cosine",
)  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One way to embed: its interpreter, its runner, and how that is told which model."""

    name: str
    python: Path
    runner: str
    options: tuple[str, ...]


def fill_cache(arguments: argparse.Namespace, model: str, home: Path) -> Path:
    """Write random weights of a published shape into Helical's cache; return their folder."""
    command = [
        arguments.helical_python, PEERS / "helical_cache.py",
        "--config", arguments.configs / f"{model}.json", "--model-name", model,
        "--dictionaries", dictionaries_for(arguments.dictionaries, model), "--out", home,
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return Path(run.stdout.splitlines()[-1])


def dictionaries_for(folder: Path, model: str) -> Path:
    """The pickles of the model's release: in `folder`, or in v1 and v2 below it."""
    below = folder / ("v1" if model.endswith("i2048") else "v2")
    return below if below.is_dir() else folder


def make_sides(arguments: argparse.Namespace, model: str, home: Path, folder: Path) -> list[Side]:
    """All sides. All read the one folder of weights."""
    own, here = Path(sys.executable), ("--checkpoint", str(folder))
    helical = ("--home", str(home), "--model-name", model)
    sides = [
        Side(REFERENCE, arguments.helical_python, "helical_runner.py", helical),
        Side("BertModel, padded", own, "transformers_runner.py", here),
        Side("rankformer float32", own, "rankformer_runner.py", here),
    ]
    if automatic_dtype() != "float32":
        automatic = ("--dtype", "auto", *here)
        sides.append(
            Side(f"rankformer {automatic_dtype()}", own, "rankformer_runner.py", automatic)
        )
    return sides


def automatic_dtype() -> str:
    """What rankformer's dtype "auto" is on this machine's CPU."""
    import torch

    from rankformer.model.device import choose_dtype

    return str(choose_dtype("auto", torch.device("cpu"))).removeprefix("torch.")


def measure_side(arguments: argparse.Namespace, side: Side, vectors: Path) -> dict[str, Any]:
    """One measurement in a fresh process."""
    command = [
        side.python, RUNNERS / side.runner, *side.options,
        "--cells", arguments.cells, "--n-cells", str(arguments.n_cells),
        "--batch-size", str(arguments.batch_size), "--threads", str(arguments.threads),
        "--vectors", vectors,
    ]  # fmt: skip
    return run_measured(command)


def measure_model(arguments: argparse.Namespace, model: str) -> dict[str, Any]:
    """All rounds of one model, and how far the sides' embeddings are apart."""
    with tempfile.TemporaryDirectory() as temporary:
        home, vectors = Path(temporary) / "home", Path(temporary) / "vectors"
        vectors.mkdir()
        sides = make_sides(arguments, model, home, fill_cache(arguments, model, home))
        rounds = {side.name: [] for side in sides}
        for turn in range(arguments.rounds):
            for side in sides if turn % 2 == 0 else reversed(sides):
                print(f"{model}, round {turn + 1}: {side.name} …", file=sys.stderr, flush=True)
                figures = measure_side(arguments, side, vectors / f"{side.name}.npz")
                rounds[side.name].append(figures)
        reference = vectors / f"{REFERENCE}.npz"
        agreement = {
            side.name: compare_vectors(reference, vectors / f"{side.name}.npz")
            for side in sides
            if side.name != REFERENCE
        }
    return {"model": model, "rounds": rounds, "agreement_with_helical": agreement}


def compare_vectors(reference: Path, other: Path) -> dict[str, Any]:
    """How far two sides' embeddings of the same cells are apart, and whose tokens are equal."""
    with np.load(reference) as theirs, np.load(other) as ours:
        a, b = theirs["rows"].astype(np.float64), ours["rows"].astype(np.float64)
        pairs = zip(split_cells(theirs), split_cells(ours), strict=True)
        equal = [np.array_equal(*pair) for pair in pairs]
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return {
        "n_cells": len(equal),
        "cells_of_equal_tokens": sum(equal),
        "largest_difference": float(np.abs(a - b).max()),
        "least_cosine": float(cosine.min()),
    }


def split_cells(saved: Any) -> list[Any]:
    """Tokens, one array a cell."""
    return np.split(saved["tokens"], saved["offsets"][1:-1])


def figure_row(model: str, side: str, rounds: list[dict[str, Any]]) -> list[str]:
    """One side of one model."""

    def over_rounds(figure: Callable[[dict[str, Any]], float]) -> str:
        return spread(figure(each) for each in rounds)

    return [
        model,
        side,
        over_rounds(lambda each: each["process_seconds"]),
        over_rounds(lambda each: each["seconds"]["start"] + each["seconds"]["import"]),
        over_rounds(tokenize_rate) if "tokenize" in rounds[0]["seconds"] else "-",
        over_rounds(lambda each: each["seconds"]["embed"]),
        over_rounds(embed_rate),
        over_rounds(lambda each: each["tokens"] / each["seconds"]["embed"]),
        over_rounds(embed_cpu),
        over_rounds(peak),
    ]  # fmt: skip


def tokenize_rate(figures: dict[str, Any]) -> float:
    """Cells a second from AnnData to tokens, on the second call."""
    return figures["n_cells"] / figures["seconds"]["tokenize"]


def embed_rate(figures: dict[str, Any]) -> float:
    """Cells a second through the model."""
    return figures["n_cells"] / figures["seconds"]["embed"]


def embed_cpu(figures: dict[str, Any]) -> float:
    """CPU seconds of all threads: other work stretches the seconds, and these less."""
    return figures["cpu_seconds"]["embed"]


def peak(figures: dict[str, Any]) -> float:
    """The process's peak memory, MB."""
    return figures["peak_rss_mb"]["embed"]


def ratio_row(result: dict[str, Any], side: str) -> list[str]:
    """A side against Helical, round by round, so that the machine's other work weighs on both."""
    pairs = list(zip(result["rounds"][side], result["rounds"][REFERENCE], strict=True))
    agreement = result["agreement_with_helical"][side]

    def ratios(figure: Callable[[dict[str, Any]], float]) -> str:
        return spread(figure(own) / figure(theirs) for own, theirs in pairs)

    return [
        result["model"],
        side,
        ratios(embed_rate),
        ratios(embed_cpu),
        ratios(lambda each: each["process_seconds"]),
        ratios(peak),
        f"{agreement['cells_of_equal_tokens']} of {agreement['n_cells']}",
        f"{agreement['largest_difference']:.1e}",
        f"{agreement['least_cosine']:.7f}",
    ]


def show(results: list[dict[str, Any]]) -> str:
    """Both tables."""
    figures = [
        figure_row(result["model"], side, rounds)
        for result in results
        for side, rounds in result["rounds"].items()
    ]
    ratios = [
        ratio_row(result, side) for result in results for side in result["agreement_with_helical"]
    ]
    tables = [markdown_table(HEADER, figures), markdown_table(RATIO_HEADER, ratios)]
    if automatic_dtype() == "float32":
        tables.append("dtype auto is float32 on this CPU, and is not run twice.")
    return "\n\n".join(tables)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--helical-python", type=Path, required=True, help="peers/helical_env.sh")
    parser.add_argument("--cells", type=Path, required=True, help="raw counts, var['ensembl_id']")
    parser.add_argument("--configs", type=Path, required=True, help="published MODEL.json")
    parser.add_argument("--dictionaries", type=Path, required=True, help="published pickles")
    parser.add_argument("--models", nargs="+", default=["gf-6L-30M-i2048", "gf-12L-95M-i4096"])
    parser.add_argument("--n-cells", type=int, default=48, help="the first of the file")
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    return parser.parse_args()


def main() -> None:
    """Measure all models, write the JSON after each, print the tables."""
    arguments = parse_arguments()
    settings = {key: getattr(arguments, key) for key in ("n_cells", "batch_size", "threads")}
    results: list[dict[str, Any]] = []
    report = {
        "machine": describe_machine(),
        "cells": arguments.cells.name,
        **settings,
        "dtype_auto": automatic_dtype(),
        "results": results,
    }
    for model in arguments.models:
        results.append(measure_model(arguments, model))
        write_json(arguments.out, report)
    print(show(results))


if __name__ == "__main__":
    main()
