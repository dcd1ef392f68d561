"""One run of `embed` into a folder of shards, by one engine, in a process of its own."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from measuring import versions, write_figures


def seconds_between(folder: Path) -> float:
    """From the first shard that was written to the last: without what starts before."""
    times = [each.stat().st_mtime for each in (folder / "shards").glob("*.parquet")]
    return max(times) - min(times)


def main() -> None:
    """Embed, and write the seconds from the call to the last shard, starts of workers included."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--shard-cells", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    from rankformer.embed.files import embed_files
    from rankformer.embed.settings import EmbedJob
    from rankformer.runs.settings import RunSettings

    of_ray: dict[str, Any] = {}
    if arguments.engine == "ray":
        # By default Ray's workers yield to all other programs, which the other engines do not.
        os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # Ray's spelling
        of_ray = {"engine": "ray", "workers": 1}
    job = EmbedJob(
        sources=tuple(arguments.files),
        output=arguments.output,
        run=RunSettings(shard_cells=arguments.shard_cells, **of_ray),
    )
    device: Any = ["cpu"] if arguments.engine == "worker process" else "cpu"
    began = time.perf_counter()
    summary = embed_files(job, arguments.model, device=device, dtype="float32")
    seconds = time.perf_counter() - began
    figures = summary.figures
    write_figures(
        arguments.out,
        {
            "seconds": round(seconds, 3),
            "seconds_after_first_shard": round(seconds_between(arguments.output), 3),
            "n_cells": figures["n_cells_done"],
            "n_shards": figures["n_shards_done"],
            "versions": versions("rankformer", "ray", "torch"),
        },
    )


if __name__ == "__main__":
    main()
