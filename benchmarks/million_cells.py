"""A run of many cells beside one of few: peak memory, time over cells, how busy the encoder is.

Real cells over and over, with fresh Poisson noise, are written to an .h5ad file some at a time.
Each stage runs in a process of its own: `tokenize` is reading and encoding alone, `embed` has the
encoder as well, and both write a folder of shards; `merge` joins these to one file.

    python benchmarks/million_cells.py --cells pbmc3k.h5ad --folder FOLDER --out million.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from machine import describe_machine
from processes import RUNNERS, run_measured
from reporting import markdown_table, short, write_json
from scipy.sparse import csr_matrix

STAGES = ("tokenize", "embed")
ENDINGS = ("h5ad", "parquet")
HEADER = (
    "stage", "cells", "wall, s", "CPU, s", "cells/s", "encoder busy, %", "peak, MB",
    "more than few, MB", "time over linear",
)  # fmt: skip
TENTHS_HEADER = ("stage", "cells", "seconds of each tenth", "resident at its end, MB")


def write_noisy_cells(
    source: Path, n_cells: int, out: Path, *, gzip: bool, depth: float = 1.0
) -> None:
    """Write `n_cells` cells whose counts are drawn anew around those of real ones.

    Counts are held for as many cells as the source has, names and obs for all. A `depth` below 1
    is that of shallower sequencing: so many times the counts.
    """
    adata, rng = anndata.read_h5ad(source), np.random.default_rng(0)
    real = csr_matrix(adata.X)
    rows = np.arange(n_cells) % adata.n_obs
    obs = adata.obs.iloc[rows].set_axis(pd.Index([f"cell{i}" for i in range(n_cells)]))
    part = out.with_name(f"part-{out.name}")
    anndata.AnnData(obs=obs, var=adata.var).write_h5ad(part)
    with h5py.File(part, "r+") as file:
        matrix = _Rows(file, n_cells, adata.n_vars, gzip=gzip)
        for start in range(0, n_cells, adata.n_obs):
            block = real[: n_cells - start].copy()
            block.data = rng.poisson(depth * block.data).astype(np.float32)
            block.eliminate_zeros()
            matrix.append(block)
    part.replace(out)


class _Rows:
    """The CSR matrix ``X`` of an .h5ad file, to which rows are appended."""

    def __init__(self, file: h5py.File, n_cells: int, n_vars: int, *, gzip: bool) -> None:
        self.group = file.create_group("X")
        self.group.attrs.update(
            {"encoding-type": "csr_matrix", "encoding-version": "0.1.0"}, shape=(n_cells, n_vars)
        )
        how: dict[str, Any] = {"chunks": (2**16,), "compression": "gzip" if gzip else None}
        for name, dtype in (("data", np.float32), ("indices", np.int32)):
            self.group.create_dataset(name, (0,), dtype, maxshape=(None,), **how)
        self.indptr = self.group.create_dataset("indptr", (n_cells + 1,), np.int64)
        self.indptr[0] = 0
        self.n_rows = self.n_values = 0

    def append(self, block: csr_matrix) -> None:
        stop = self.n_values + block.nnz
        for name in ("data", "indices"):
            self.group[name].resize((stop,))
            self.group[name][self.n_values :] = getattr(block, name)
        rows = slice(self.n_rows + 1, self.n_rows + block.shape[0] + 1)
        self.indptr[rows] = block.indptr[1:].astype(np.int64) + self.n_values
        self.n_rows, self.n_values = self.n_rows + block.shape[0], stop


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Each stage of few and of many cells, one after the other."""
    results = []
    for n_cells in (arguments.few, arguments.n_cells):
        ending = "gzip.h5ad" if arguments.gzip else "h5ad"
        cells = arguments.folder / f"cells-{n_cells}.{ending}"
        if not cells.exists():
            tell(f"writing {n_cells:,} cells")
            write_noisy_cells(
                arguments.cells, n_cells, cells, gzip=arguments.gzip, depth=arguments.depth
            )
        for stage in arguments.stages:
            run = arguments.folder / f"{stage}-{n_cells}"
            results.append(measure_stage(arguments, stage, cells, run))
            for merged in ENDINGS if stage == "embed" else ():
                output = run.with_suffix(f".{merged}")
                results.append(measure_stage(arguments, f"merge to .{merged}", run, output))
                output.unlink()
    return results


def measure_stage(
    arguments: argparse.Namespace, stage: str, source: Path, output: Path
) -> dict[str, Any]:
    """One stage in a process of its own."""
    tell(f"{stage} of {source.name}")
    command: list[Any] = [sys.executable, RUNNERS / "million_runner.py", stage.split()[0]]
    command += [source, output, "--threads", str(arguments.threads)]
    command += ["--shard-cells", str(arguments.shard_cells), "--model", arguments.model]
    figures = run_measured(command)
    size = figures["output_bytes"]
    return {"stage": stage, "input_bytes": source.stat().st_size, **figures, "output_bytes": size}


def tell(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


def stage_rows(results: Iterable[dict[str, Any]]) -> list[list[str]]:
    """A row for each stage and number of cells; the first of each stage is that of few."""
    first: dict[str, dict[str, Any]] = {}
    rows = []
    for each in results:
        few = first.setdefault(each["stage"], each)
        peak, least = each["peak_rss_mb"]["work"], few["peak_rss_mb"]["work"]
        seconds, expected = each["seconds"]["work"], few["seconds"]["work"]
        expected *= each["n_cells"] / few["n_cells"]
        busy = each.get("busy_share")
        rows.append([
            each["stage"], f"{each['n_cells']:,}", short(seconds),
            short(each["cpu_seconds"]["work"]), short(each["n_cells"] / seconds),
            "-" if busy is None else f"{100 * busy:.1f}", f"{peak:,.0f}", f"{peak - least:,.0f}",
            "-" if each is few else f"{seconds / expected:.2f}",
        ])  # fmt: skip
    return rows


def tenth_rows(results: Iterable[dict[str, Any]]) -> list[list[str]]:
    """How time and memory go on within the stages that tell their progress."""
    return [
        [each["stage"], f"{each['n_cells']:,}", ", ".join(map(short, each["tenths_seconds"])),
         ", ".join(f"{mb:,.0f}" for mb in each["tenths_rss_mb"])]
        for each in results if each["tenths_seconds"]
    ]  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=Path, required=True, help="an .h5ad file of real counts")
    parser.add_argument("--n-cells", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000, help="that many are compared with")
    parser.add_argument("--depth", type=float, default=1.0, help="times the counts")
    parser.add_argument("--gzip", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--folder", type=Path, required=True, help="for cells and shards; is kept")
    parser.add_argument("--model", default="rankformer-mini")
    parser.add_argument("--shard-cells", type=int, default=8192)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    return parser.parse_args()


def main() -> None:
    """Measure, write the JSON, print the tables."""
    arguments = parse_arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    machine, results = describe_machine(), measure(arguments)
    options = ("threads", "gzip", "shard_cells", "depth")
    settings = {name: getattr(arguments, name) for name in options}
    named = {"cells": arguments.cells.name, "model": arguments.model}
    write_json(arguments.out, {"machine": machine, **named, **settings, "results": results})
    print(markdown_table(HEADER, stage_rows(results)), end="\n\n")
    print(markdown_table(TENTHS_HEADER, tenth_rows(results)))


if __name__ == "__main__":
    main()
