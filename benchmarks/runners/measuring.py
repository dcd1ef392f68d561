"""What all runners share: stages, memory, threads, and what is written for the comparison.

Needs numpy and the standard library only, as it runs in the peers' environments too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The time at which the process was asked for, where the caller tells it: its start is measured too.
SPAWNED = "BENCHMARK_SPAWNED"


class Stages:
    """Seconds and CPU seconds of each stage, and the process's peak memory in MB at its end."""

    def __init__(self) -> None:
        spawned = float(os.environ.get(SPAWNED, time.time()))
        self.seconds = {"start": round(time.time() - spawned, 4)}
        self.cpu_seconds = {"start": round(time.process_time(), 4)}
        self.peak_rss_mb = {"start": peak_rss_mb()}
        self._began = time.perf_counter(), time.process_time()

    def end(self, stage: str) -> None:
        """Close the stage that runs and begin the next."""
        wall, cpu = self._began
        self.seconds[stage] = round(time.perf_counter() - wall, 4)
        self.cpu_seconds[stage] = round(time.process_time() - cpu, 4)
        self.peak_rss_mb[stage] = peak_rss_mb()
        self._began = time.perf_counter(), time.process_time()

    def figures(self) -> dict[str, Any]:
        """All of it, for the JSON."""
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_rss_mb": self.peak_rss_mb,
        }


def peak_rss_mb() -> float:
    """Return the peak resident memory of this process in MB (1024² bytes)."""
    try:
        # A child inherits its parent's ru_maxrss on Linux; VmHWM is its own.
        status = Path("/proc/self/status").read_text()
        kilobytes = int(status.partition("VmHWM:")[2].split()[0])
    except OSError:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / 1024, 1)


def limit_threads(threads: int) -> None:
    """Tell the libraries; they read it on import, so this comes before the first of them."""
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    os.environ.update(dict.fromkeys(limits, str(threads)))
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that every runner has."""
    parser.add_argument("--cells", type=Path, help="raw counts, var['ensembl_id']")
    parser.add_argument("--n-cells", type=int, help="the first ones; all unless given")
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON of the figures")
    parser.add_argument("--vectors", type=Path, help=".npz of embeddings and tokens")


def add_token_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the runners that take tokens too, and run on a GPU."""
    parser.add_argument("--tokens", type=Path, help=".npz of values and offsets, in place of cells")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the model")
    parser.add_argument("--device", default="cpu")


def describe_tokens(lengths: NDArray[np.integer]) -> dict[str, int]:
    """How much there was to do."""
    return {
        "n_cells": len(lengths),
        "tokens": int(lengths.sum()),
        "longest_cell": int(lengths.max()),
    }


def versions(*packages: str) -> dict[str, str]:
    """Python's and the packages' versions."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def save_vectors(path: Path | None, rows: Any, tokens: list[Any]) -> None:
    """Keep embeddings and tokens, so that what the sides did can be compared."""
    import numpy as np

    if path is not None:
        offsets = np.cumsum([0, *map(len, tokens)])
        np.savez(path, rows=rows, tokens=np.concatenate(tokens), offsets=offsets)


def write_figures(path: Path, figures: dict[str, Any]) -> None:
    """Write the JSON and say where it lies."""
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(path)
