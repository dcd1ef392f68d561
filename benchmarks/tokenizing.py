"""Tokenizing alone, beside Helical: from memory to a dataset, and from a file to a saved dataset.

Runs with rankformer's Python. Beside Helical the vocabulary is V1, the identifiers are Ensembl ids,
none twice; both sides get the same AnnData, small files repeated to about the cells asked for. The
command is timed from compressed files, with V1 and with V2, whose dictionaries send several ids to
one gene: Helical 2.2.0 fails on those.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import anndata
from encoder import fill_cache
from machine import describe_machine, load_average
from processes import RUNNERS, run_measured, timed
from reporting import markdown_table, spread, write_json

from cells import repeat_cells, thin_cells

MODEL = "gf-6L-30M-i2048"
MODELS = {"V1": MODEL, "V2": "gf-12L-95M-i4096"}
HEADER = ("cells", "side", "first call, cells/s", "second call, cells/s", "peak, MB", "ratio")
COMMAND_HEADER = (
    "vocabulary",
    "cells",
    "n",
    "whole process, s",
    "cells/s",
    "kernel compiled before",
)


def make_commands(arguments: argparse.Namespace, home: Path, checkpoint: Path) -> dict[str, Any]:
    """Side → command, each with its own number of threads or processes."""
    theirs = [arguments.helical_python, RUNNERS / "helical_runner.py", "--home", home]
    theirs += ["--model-name", MODEL]
    ours = [sys.executable, RUNNERS / "rankformer_runner.py", "--checkpoint", checkpoint]
    workers = sorted({1, arguments.threads})
    sides: dict[str, Any] = {}
    for n in workers:
        sides[f"helical, nproc {n}"] = [*theirs, "--threads", str(n), "--nproc", str(n)]
        sides[f"rankformer, threads {n}"] = [*ours, "--threads", str(n)]
    return {name: [*command, "--only-tokenize"] for name, command in sides.items()}


def measure_memory(
    commands: dict[str, Any], cells: Path, rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """From AnnData in memory to a dataset: all sides, taking turns."""
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            print(f"{cells.stem}: {name} …", file=sys.stderr, flush=True)
            figures[name].append(run_measured([*command, "--cells", cells]))
    return figures


def measure_command(cells: Path, checkpoint: Path, threads: int, kernels: Path) -> float:
    """`rankformer tokenize`, from file to saved dataset: the whole process's seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            Path(sys.executable).with_name("rankformer"), "--quiet", "tokenize", cells,
            "--output", Path(folder) / "tokens", "--model", checkpoint, "--threads", str(threads),
        ]  # fmt: skip
        return timed(command, {"NUMBA_CACHE_DIR": os.fspath(kernels)})


def measure_commands(
    arguments: argparse.Namespace, files: dict[str, Path], checkpoints: dict[str, Path]
) -> list[dict[str, Any]]:
    """The command on each file, once with a kernel to compile, then with a compiled one."""
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as kernels:
        runs = [(file, vocabulary) for file in files.items() for vocabulary in checkpoints]
        for (name, path), vocabulary in [runs[0], *runs * arguments.rounds]:
            load = load_average()
            checkpoint = checkpoints[vocabulary]
            seconds = measure_command(path, checkpoint, arguments.threads, Path(kernels))
            results.append(
                {"vocabulary": vocabulary, "cells": name, "seconds": seconds,
                 "n_cells": anndata.read_h5ad(path, backed="r").n_obs,
                 "kernel_compiled_before": bool(results), "load_before": load}
            )  # fmt: skip
    return results


def memory_rows(cells: str, figures: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """A row a side, and one for our kernel alone; ratios are those of the second calls."""
    rows = []
    for side, rounds in figures.items():
        peer = figures["helical, nproc 1"]
        ratios = [rate(own) / rate(theirs) for own, theirs in zip(rounds, peer, strict=True)]
        first = spread(rate(each, "tokenize_first") for each in rounds)
        peaks = spread(each["peak_rss_mb"]["tokenize"] for each in rounds)
        rows.append([cells, side, first, spread(map(rate, rounds)), peaks, spread(ratios)])
        if "encode" in rounds[0]["seconds"]:
            alone = spread(rate(each, "encode") for each in rounds)
            rows.append([cells, f"{side}: encode_rank_values alone", "-", alone, "-", "-"])
    return rows


def rate(figures: dict[str, Any], stage: str = "tokenize") -> float:
    """Cells a second of a stage."""
    return figures["n_cells"] / figures["seconds"][stage]


def command_rows(results: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each file, and for whether the kernel was compiled before."""
    groups: dict[tuple[str, str, int, bool], list[float]] = {}
    for each in results:
        key = each["vocabulary"], each["cells"], each["n_cells"], each["kernel_compiled_before"]
        groups.setdefault(key, []).append(each["seconds"])
    return [
        [vocabulary, cells, f"{n:,}", spread(seconds), spread(n / each for each in seconds),
         "yes" if warm else "no"]
        for (vocabulary, cells, n, warm), seconds in groups.items()
    ]  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--helical-python", type=Path, required=True, help="peers/helical_env.sh")
    parser.add_argument("--cells", type=Path, nargs="+", required=True, help="files of counts")
    parser.add_argument("--deep-cells", type=Path, help="thinned to --n-genes, beside Helical")
    parser.add_argument("--n-genes", type=int, default=2700, help="of a cell, on average")
    parser.add_argument("--configs", type=Path, required=True, help="published MODEL.json")
    parser.add_argument("--dictionaries", type=Path, required=True, help="published pickles")
    parser.add_argument("--n-cells", type=int, default=4000, help="beside Helical")
    parser.add_argument("--n-cells-file", type=int, default=40_000, help="for the command")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of it, with what is needed below `folder`."""
    home = folder / "home"
    checkpoints = {key: fill_cache(arguments, model, home) for key, model in MODELS.items()}
    commands = make_commands(arguments, home, checkpoints["V1"])
    memory, files = {}, {}
    for path in [*arguments.cells, *thinned(arguments, folder)]:
        small, large = folder / f"{path.stem}_few.h5ad", folder / f"{path.stem}_many.h5ad"
        repeat_cells(path, arguments.n_cells, small)
        memory[path.stem] = measure_memory(commands, small, arguments.rounds)
        repeat_cells(path, arguments.n_cells_file, large)
        files |= {path.stem: small, f"{path.stem}, many": large}
    return {"memory": memory, "command": measure_commands(arguments, files, checkpoints)}


def thinned(arguments: argparse.Namespace, folder: Path) -> list[Path]:
    """The deep cells, thinned, where some were named."""
    if arguments.deep_cells is None:
        return []
    path = folder / f"{arguments.n_genes} genes a cell.h5ad"
    thin_cells(arguments.deep_cells, arguments.n_genes, path)
    return [path]


def main() -> None:
    """Measure, write the JSON, print the tables."""
    arguments = parse_arguments()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(arguments, Path(folder))
    settings = {"threads": arguments.threads}
    write_json(arguments.out, {"machine": machine, **settings, **results})
    memory = [row for cells, figures in results["memory"].items()
              for row in memory_rows(cells, figures)]  # fmt: skip
    print(markdown_table(HEADER, memory), end="\n\n")
    print(markdown_table(COMMAND_HEADER, command_rows(results["command"])))


if __name__ == "__main__":
    main()
