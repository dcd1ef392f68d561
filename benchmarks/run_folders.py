"""What the folder of a run costs as its shards and inputs grow in number: no cell is computed.

Inputs are small files, and shards hold a row, as no cost depends on what is in them.

    python benchmarks/run_folders.py --shards 12000 100000 --files 1500 --out run_folders.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from machine import describe_machine, load_average
from reporting import markdown_table, short, write_json

from rankformer.runs.inputs import InputFile
from rankformer.runs.manifest import MANIFEST, Manifest, Work
from rankformer.runs.run import Run
from rankformer.runs.shards import Share

HEADER = (
    "inputs", "shards", "manifest, kB", "read it, s (CPU)", "look at all inputs, s (CPU)",
    "list the shards, s (CPU)", "find which are done, s (CPU)",
)  # fmt: skip
# As `rankformer embed` notes of an input with these figures of its genes.
GENES = {
    "column": "index", "vocabulary": "gf-12L-95M-i4096", "vocabulary_sha256": "0" * 64,
    "n_vars": 36_601, "n_mapped": 19_301, "n_genes": 18_974, "n_summed": 327,
    "recognised_share": 0.93,
    "fates": {
        "mapped": 19_301, "known gene, not in the vocabulary": 15_000, "ambiguous, not guessed": 9,
        "of another species": 0, "not a gene expression feature": 0, "unknown": 2_291,
    },
    "rules": {"Ensembl id": 19_301},
}  # fmt: skip


def make_run(folder: Path, n_files: int, n_shards: int) -> Run:
    """A run of which every shard is done."""
    cells = folder / "cells"
    cells.mkdir(parents=True)
    work = Work("embed", {"model": "gf-12L-95M-i4096"}, {"dtype": "bfloat16"}, 1)
    inputs = []
    for index in range(n_files):
        file = cells / f"dataset-{index:06d}.h5ad"
        file.write_bytes(bytes(2**16))
        n_cells = n_shards * (index + 1) // n_files - n_shards * index // n_files
        source = {"source": str(file), "counts": "X", "counts_kind": "counts", "genes": GENES}
        inputs.append(InputFile.of(file, n_cells, source))
    run = Run(folder, Manifest(work, tuple(inputs)))
    run.manifest.write(folder / MANIFEST)
    row = pa.table({"cell": ["a"], "missing": [None], "vector": [[0.0]]})
    (folder / "shards").mkdir()
    # The disk is not waited for, as nobody asks how long it takes to make them.
    with patch("rankformer.runs.shards.sync"):
        for shard in run.shards():
            with run.writing(shard) as out:
                out.add(row)
    return run


def timed(task: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Wall and CPU seconds of a task, and its result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = task()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": round(wall, 3), "cpu": round(cpu, 3)}, result


def told(seconds: dict[str, float]) -> str:
    return f"{short(seconds['wall'])} ({short(seconds['cpu'])})"


def measure(n_files: int, n_shards: int) -> dict[str, Any]:
    """Each step that every process of a run does once."""
    with tempfile.TemporaryDirectory() as name:
        run = make_run(Path(name) / "run", n_files, n_shards)
        reading, found = timed(lambda: Run.read(run.folder))
        paths = [Path(each.path) for each in found.manifest.inputs]
        looking, _ = timed(lambda: [InputFile.of(path) for path in paths])
        listing, shards = timed(lambda: Share(1, 1).among(found.shards()))
        finding, n_done = timed(lambda: sum(found.is_done(shard) for shard in shards))
        assert n_done == n_shards  # noqa: S101
        return {
            "n_files": n_files, "n_shards": n_shards,
            "manifest_bytes": (run.folder / MANIFEST).stat().st_size, "read_seconds": reading,
            "look_seconds": looking, "list_seconds": listing, "done_seconds": finding,
        }  # fmt: skip


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=int, nargs="+", default=[1500, 12_000, 100_000])
    parser.add_argument("--files", type=int, default=1500)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    load = load_average()
    results = [measure(arguments.files, n_shards) for n_shards in arguments.shards]
    machine = describe_machine()
    write_json(arguments.out, {"machine": machine, "load_before": load, "results": results})
    rows = [
        [f"{each['n_files']:,}", f"{each['n_shards']:,}", f"{each['manifest_bytes'] / 1000:,.0f}",
         *(told(each[f"{name}_seconds"]) for name in ("read", "look", "list", "done"))]
        for each in results
    ]  # fmt: skip
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    main()
