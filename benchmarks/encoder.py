"""The encoder beside Helical and a plain BertModel: same cells, same weights, same threads.

Runs with rankformer's Python. Every measurement is a process of its own, one after the other; the
sides take turns, in an order that turns round from one round to the next. Without a file of cells,
tokens are random with lengths as in real cells, and Helical is left out; so it runs on a machine
with nothing but rankformer, transformers and the published configurations.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from gpu_models import make_vocabulary
from machine import describe_machine
from processes import RUNNERS, run_measured
from reporting import markdown_table, spread, write_json

from cells import thin_cells

if TYPE_CHECKING:
    from rankformer import Vocabulary

PEERS = Path(__file__).resolve().parent / "peers"
HEADER = (
    "model", "side", "whole process, s", "start and imports, s", "tokenize, cells/s",
    "embed, s", "embed, cells/s", "embed, tokens/s", "embed, CPU s", "peak, MB",
)  # fmt: skip
CEILING_HEADER = (
    "model", "side", "TFLOP/s", "share of the ceiling", "products alone, TFLOP/s",
    "attention alone, TFLOP/s", "copy, GB/s", "time / its parts alone",
)  # fmt: skip
RATIO_HEADER = (
    "model", "side / first side", "embed, cells/s", "embed, CPU s", "whole process, s", "peak, MB",
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
    """All sides, the first one that which the others are held against; one folder of weights."""
    own = Path(sys.executable)
    here = ("--checkpoint", str(folder), "--device", arguments.device)
    sides = [
        Side("BertModel, padded", own, "transformers_runner.py", here),
        Side("BertModel, sorted by length", own, "transformers_runner.py", (*here, "--sort")),
        *(
            Side(f"rankformer {dtype}", own, "rankformer_runner.py", (*here, "--dtype", dtype))
            for dtype in ("float32", "bfloat16", *(["int8"] if arguments.device == "cpu" else []))
        ),
    ]
    if arguments.helical_python:
        helical = ("--home", str(home), "--model-name", model)
        sides.insert(0, Side("helical", arguments.helical_python, "helical_runner.py", helical))
    return sides


def make_inputs(
    arguments: argparse.Namespace, model: str, folder: Path
) -> tuple[Path, tuple[str | Path, ...]]:
    """The folder of weights, and how a runner is told its cells."""
    if arguments.cells:
        file = arguments.cells
        if arguments.n_genes:
            file = folder / "thinned.h5ad"
            thin_cells(arguments.cells, arguments.n_genes, file)
        cells = ("--cells", file, "--n-cells", str(arguments.n_cells))
        if arguments.helical_python:
            return fill_cache(arguments, model, folder / "home"), cells
        config = arguments.configs / f"{model}.json"
        vocabulary = open_dictionaries(arguments.dictionaries, model)
        return save_random_checkpoint(config, folder / model, vocabulary), cells
    checkpoint = save_random_checkpoint(arguments.configs / f"{model}.json", folder / model)
    from rankformer import Checkpoint, Embedder
    from rankformer.embed.bench import make_tokens

    embedder = Embedder(Checkpoint.open(checkpoint), device="cpu", dtype="float32")
    values, offsets = make_tokens(embedder, arguments.n_cells)
    np.savez(folder / "tokens.npz", values=values, offsets=offsets)
    return checkpoint, ("--tokens", folder / "tokens.npz")


def open_dictionaries(folder: Path | None, model: str) -> Vocabulary:
    from rankformer import Vocabulary

    if folder is None:
        sys.exit("Cells are tokenized with the model's dictionaries: pass --dictionaries FOLDER.")
    return Vocabulary.load(dictionaries_for(folder, model))


def save_random_checkpoint(
    config: Path, folder: Path, vocabulary: Vocabulary | None = None
) -> Path:
    """Random weights of a published shape; with made-up genes unless a vocabulary is given."""
    from rankformer import Encoder, EncoderSpec, MaskedLanguageModel, save_checkpoint

    spec = EncoderSpec.read(config)
    vocabulary = vocabulary or make_vocabulary(spec, config.stem)
    return save_checkpoint(folder, MaskedLanguageModel(Encoder(spec)), vocabulary)


def measure_side(
    arguments: argparse.Namespace, side: Side, cells: tuple[str | Path, ...], vectors: Path
) -> dict[str, Any]:
    """One measurement in a fresh process."""
    command = [
        side.python, RUNNERS / side.runner, *side.options, *cells,
        "--batch-size", str(arguments.batch_size), "--threads", str(arguments.threads),
        "--vectors", vectors,
    ]  # fmt: skip
    return run_measured(command)


def measure_model(arguments: argparse.Namespace, model: str) -> dict[str, Any]:
    """All rounds of one model, and how far the sides' embeddings are apart."""
    with tempfile.TemporaryDirectory() as temporary:
        home, vectors = Path(temporary) / "home", Path(temporary) / "vectors"
        vectors.mkdir()
        checkpoint, cells = make_inputs(arguments, model, Path(temporary))
        sides = make_sides(arguments, model, home, checkpoint)
        rounds: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
        for turn in range(arguments.rounds):
            for side in sides if turn % 2 == 0 else reversed(sides):
                print(f"{model}, round {turn + 1}: {side.name} …", file=sys.stderr, flush=True)
                figures = measure_side(arguments, side, cells, vectors / f"{side.name}.npz")
                rounds[side.name].append(figures)
        reference, *others = (vectors / f"{side.name}.npz" for side in sides)
        agreement = {each.stem: compare_vectors(reference, each) for each in others}
    return {"model": model, "rounds": rounds, "agreement_with_the_first": agreement}


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
        over_rounds(whole_process),
        over_rounds(lambda each: each["seconds"]["start"] + each["seconds"]["import"]),
        over_rounds(tokenize_rate) if "tokenize" in rounds[0]["seconds"] else "-",
        over_rounds(lambda each: each["seconds"]["embed"]),
        over_rounds(embed_rate),
        over_rounds(lambda each: each["tokens"] / each["seconds"]["embed"]),
        over_rounds(embed_cpu),
        over_rounds(peak),
    ]  # fmt: skip


def whole_process(figures: dict[str, Any]) -> float:
    """Seconds from asking for the process to its end, without measuring the parts alone."""
    return figures["process_seconds"] - figures["seconds"].get("parts", 0)


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
    """A side against the first, round by round, so that the machine's other work weighs on both."""
    first = next(iter(result["rounds"].values()))
    pairs = list(zip(result["rounds"][side], first, strict=True))
    agreement = result["agreement_with_the_first"][side]

    def ratios(figure: Callable[[dict[str, Any]], float]) -> str:
        return spread(figure(own) / figure(theirs) for own, theirs in pairs)

    return [
        result["model"],
        side,
        ratios(embed_rate),
        ratios(embed_cpu),
        ratios(whole_process),
        ratios(peak),
        f"{agreement['cells_of_equal_tokens']} of {agreement['n_cells']}",
        f"{agreement['largest_difference']:.1e}",
        f"{agreement['least_cosine']:.7f}",
    ]


def ceiling_row(result: dict[str, Any], side: str) -> list[str]:
    """A side beside what products and attention reach alone; peers beside ours in float32."""
    rounds = result["rounds"][side]
    own = rounds if side.startswith("rankformer") else result["rounds"]["rankformer float32"]
    seconds = [each["seconds"]["embed"] for each in rounds]
    parts = [median(each["seconds_of_parts"]) for each in own]
    measured = [each for figures in own for each in figures["rounds"]]
    # Ours is timed in turns with its parts; the others' times stand beside those of their round.
    times = [time for each in rounds for time in each.get("times_over_parts", ())]
    times = times or [time / part for time, part in zip(seconds, parts, strict=True)]
    return [
        result["model"],
        side,
        spread(own[0]["flops"] / each / 1e12 for each in seconds),
        spread(1 / each for each in times),
        spread(each["product_rate"] / 1e12 for each in measured),
        spread(each["attention_rate"] / 1e12 for each in measured),
        spread(each["copy_rate"] / 1e9 for each in measured),
        spread(times),
    ]


def show(results: list[dict[str, Any]]) -> str:
    """All tables."""
    sides = [(result, side) for result in results for side in result["rounds"]]
    figures = [figure_row(result["model"], side, result["rounds"][side]) for result, side in sides]
    ratios = [
        ratio_row(result, side) for result in results for side in result["agreement_with_the_first"]
    ]
    ceilings = [ceiling_row(result, side) for result, side in sides]
    return "\n\n".join(
        [
            markdown_table(HEADER, figures),
            markdown_table(RATIO_HEADER, ratios),
            markdown_table(CEILING_HEADER, ceilings),
        ]
    )


def gpu_name(device: str) -> str | None:
    """What the driver calls the GPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else None


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--helical-python", type=Path, help="peers/helical_env.sh; needs cells")
    parser.add_argument("--cells", type=Path, help="raw counts, var['ensembl_id']; CPU only")
    parser.add_argument("--configs", type=Path, required=True, help="published MODEL.json")
    parser.add_argument("--dictionaries", type=Path, help="published pickles; needed with cells")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", default=["gf-6L-30M-i2048", "gf-12L-95M-i4096"])
    parser.add_argument("--n-genes", type=int, help="thin cells to so many genes on average")
    parser.add_argument("--n-cells", type=int, default=48, help="the first of the file")
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    if arguments.n_genes and not arguments.cells:
        parser.error("--n-genes thins the cells of --cells")
    if arguments.helical_python and not (arguments.cells and arguments.dictionaries):
        parser.error("--helical-python needs --cells and --dictionaries")
    return arguments


def main() -> None:
    """Measure all models, write the JSON after each, print the tables."""
    arguments = parse_arguments()
    names = ("n_cells", "n_genes", "batch_size", "threads", "device")
    settings = {name: getattr(arguments, name) for name in names}
    results: list[dict[str, Any]] = []
    report = {
        "machine": describe_machine(),
        "cells": arguments.cells.name if arguments.cells else "random tokens",
        "gpu": gpu_name(arguments.device),
        **settings,
        "results": results,
    }
    for model in arguments.models:
        results.append(measure_model(arguments, model))
        write_json(arguments.out, report)
    print(show(results))


if __name__ == "__main__":
    main()
