"""One stage of a run of many cells, in a process of its own.

Runs in rankformer's environment.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from measuring import Stages, limit_threads, versions, write_figures

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class Busy:
    """How long the encoder's batches were waited for, from the first to the last.

    Batches that are computed while their user is elsewhere do not count: it is the least.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.began: float | None = None
        self.ended = 0.0

    def wrapped(self, original: Any) -> Any:
        def cell_batches(*arguments: Any, **keywords: Any) -> Iterator[Any]:
            batches, at_end = original(*arguments, **keywords), object()
            while True:
                began = time.perf_counter()
                self.began = self.began or began
                batch = next(batches, at_end)
                self.ended = time.perf_counter()
                self.seconds += self.ended - began
                if batch is at_end:
                    return
                yield batch

        return cell_batches

    @property
    def share(self) -> float:
        return self.seconds / (self.ended - (self.began or 0))


def tokenize(arguments: argparse.Namespace) -> dict[str, Any]:
    from rankformer.runs.settings import RunSettings, TokenizeJob
    from rankformer.runs.shards import Share
    from rankformer.runs.token_runs import tokenize_files

    shutil.rmtree(arguments.output, ignore_errors=True)
    settings = RunSettings(shard=Share(1, 1), shard_cells=arguments.shard_cells)
    job = TokenizeJob((arguments.source,), arguments.output, settings)
    return dict(tokenize_files(job, arguments.model).figures)


def embed(arguments: argparse.Namespace) -> dict[str, Any]:
    from rankformer.embed.embedder import Embedder
    from rankformer.embed.files import embed_files
    from rankformer.embed.settings import EmbedJob
    from rankformer.runs.settings import RunSettings

    settings = RunSettings(shard_cells=arguments.shard_cells, restart=True)
    job, busy = EmbedJob((arguments.source,), output=arguments.output, run=settings), Busy()
    with patch.object(Embedder, "cell_batches", busy.wrapped(Embedder.cell_batches)):
        figures = embed_files(job, arguments.model).figures
    return {**figures, "busy_share": busy.share, "busy_seconds": round(busy.seconds, 3)}


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
