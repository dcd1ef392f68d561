"""``rankformer bench``."""

from typing import Annotated

import typer

from rankformer.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Model,
    Threads,
    limit_threads,
    model_or_default,
)


def bench(
    model: Model = None,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.auto,
    threads: Threads = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="About how long each of three rounds runs.")
    ] = 2.0,
) -> None:
    """Say how fast a model runs on this machine, and how near to what the machine can do."""
    from rankformer.embed.bench import run_bench
    from rankformer.embed.embedder import open_embedder
    from rankformer.show.bench_screen import render_bench

    limit_threads(threads)
    embedder = open_embedder(model_or_default(model), device=device, dtype=dtype.value)
    render_bench(run_bench(embedder, seconds=seconds))
