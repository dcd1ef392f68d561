"""One run of `embed` into a folder of shards, by one engine, in a process of its own."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from measuring import versions, write_figures


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
            "n_cells": figures["n_cells_done"],
            "n_shards": figures["n_shards_done"],
            "versions": versions("rankformer", "ray", "torch"),
        },
    )


if __name__ == "__main__":
    main()
