"""One stage of a run of many cells, in a process of its own.

Runs in rankformer's environment.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from pathlib import Path
from typing import Any

from measuring import Stages, limit_threads, versions, write_figures

PACKAGES = ("rankformer", "torch", "anndata", "h5py", "numba", "numpy", "pandas", "pyarrow")
N_TENTHS = 10


class Tenths:
    """Seconds and resident memory at each tenth of the cells; a watcher of progress."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seconds: list[float] = []
        self.rss_mb: list[float] = []

    def __call__(self, _: str, n_done: int, n_cells: int) -> None:
        if not n_done:
            self.began = time.perf_counter()
        while len(self.seconds) < N_TENTHS * n_done // n_cells:
            now = time.perf_counter()
            self.seconds.append(round(now - self.began, 3))
            self.rss_mb.append(resident_mb())
            self.began = now


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return round(int(status.partition("VmRSS:")[2].split()[0]) / 1024, 1)


def tokenize(arguments: argparse.Namespace) -> dict[str, Any]:
    from rankformer.runs.settings import RunSettings, TokenizeJob
    from rankformer.runs.shards import Share
    from rankformer.runs.token_runs import tokenize_files

    shutil.rmtree(arguments.output, ignore_errors=True)
    settings = RunSettings(shard=Share(1, 1), shard_cells=arguments.shard_cells)
    job = TokenizeJob((arguments.source,), arguments.output, settings)
    return dict(tokenize_files(job, arguments.model).figures)


def embed(arguments: argparse.Namespace) -> dict[str, Any]:
    from rankformer.embed.files import embed_files
    from rankformer.embed.settings import EmbedJob
    from rankformer.runs.settings import RunSettings

    settings = RunSettings(shard_cells=arguments.shard_cells, restart=True)
    job = EmbedJob((arguments.source,), output=arguments.output, run=settings)
    figures = embed_files(job, arguments.model).figures
    model = figures["seconds_of_stages"]["the model"]
    return {**figures, "busy_share": model["worked"] / sum(model.values())}


def merge(arguments: argparse.Namespace) -> dict[str, Any]:
    from rankformer.merge import merge_run
    from rankformer.runs.settings import MergeJob

    return dict(merge_run(MergeJob(arguments.source, arguments.output)).figures)


TASKS = {"tokenize": tokenize, "embed": embed, "merge": merge}


def size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do one stage, and tell what it took."""
    limit_threads(arguments.threads)
    import torch

    from rankformer.progress import watched

    torch.set_num_threads(arguments.threads)
    stages, tenths = Stages(), Tenths()
    with watched(tenths):
        figures = TASKS[arguments.task](arguments)
    stages.end("work")
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **figures, **stages.figures(), "max_rss_mb": round(kilobytes / 1024, 1),
        "tenths_seconds": tenths.seconds, "tenths_rss_mb": tenths.rss_mb,
        "output_bytes": size(arguments.output),
    }  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("source", type=Path, help="cells, or the folder of a run")
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--shard-cells", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON of the figures")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_arguments()
    write_figures(given.out, {"versions": versions(*PACKAGES), **run(given)})
