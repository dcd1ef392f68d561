"""``rankformer bench``."""

from functools import partial
from typing import Annotated

import typer

from rankformer.cli.command import Common
from rankformer.cli.options import Model, Threads, limit_threads, model_or_default
from rankformer.embed.settings import Computing
from rankformer.summary import Summary


def bench(
    computing: Computing,
    model: Model = None,
    threads: Threads = None,
    seconds: Annotated[
        float,
        typer.Option(min=0.1, help="How many seconds each of the three measurements takes, about."),
        Common,
    ] = 2.0,
) -> Summary:
    """Measure how many cells a model embeds in a second on this machine."""
    from rankformer.embed.bench import run_bench
    from rankformer.embed.embedder import open_embedder
    from rankformer.show.bench_screen import bench_figures, render_bench

    limit_threads(threads)
    embedder = open_embedder(model_or_default(model), **vars(computing))
    result = run_bench(embedder, seconds=seconds)
    return Summary(figures=bench_figures(result), screen=partial(render_bench, result))
