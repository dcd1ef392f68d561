"""What a bench measured, on a terminal."""

from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from rankformer.embed.bench import BenchResult
from rankformer.show.screen import Screen


def bench_figures(result: BenchResult) -> dict[str, Any]:
    """What was measured, as plain values."""
    embedder = result.embedder
    n_cells, n_tokens = len(result.lengths), int(result.lengths.sum())
    return {
        "model": embedder.checkpoint.name,
        "device": str(embedder.device),
        "dtype": embedder.precision,
        "threads": torch.get_num_threads(),
        "cells_per_second": n_cells / result.seconds,
        "tokens_per_second": n_tokens / result.seconds,
        "tokens_per_cell": n_tokens / n_cells,
        "flops_per_second": result.flops_per_second,
        "flops_per_second_of_products_alone": median(each.product_rate for each in result.rounds),
        "flops_per_second_of_attention_alone": median(
            each.attention_rate for each in result.rounds
        ),
        "seconds_over_those_of_both_alone": median(result.ratios_to_parts),
        "bytes_copied_per_second": median(each.copy_rate for each in result.rounds),
        "memory_bytes": result.memory_bytes,
    }


def render_bench(result: BenchResult, console: Console | None = None) -> None:
    """Print the encoder's figures, and its parts' alone."""
    console = console or Screen()
    embedder = result.embedder
    where = f"{embedder.device}, {embedder.precision}"
    if embedder.device.type == "cpu":
        where += f", {torch.get_num_threads()} threads"
    title = f"{embedder.checkpoint.name} on {where}"
    table = Table(title=title, title_justify="left", header_style="bold", show_header=False)
    table.add_column("what")
    table.add_column("figure", justify="right", no_wrap=True)
    for row in _rows(result):
        table.add_row(*row)
    console.print(table)


def _rows(result: BenchResult) -> list[tuple[str, str]]:
    n_cells, n_tokens = len(result.lengths), int(result.lengths.sum())
    products = median(each.product_rate for each in result.rounds)
    attention = median(each.attention_rate for each in result.rounds)
    copy = median(each.copy_rate for each in result.rounds)
    memory = "most memory" if result.embedder.device.type == "cuda" else "memory of the process"
    return [
        ("cells/s", f"{n_cells / result.seconds:,.1f}"),
        ("tokens/s", f"{n_tokens / result.seconds:,.0f}"),
        ("tokens a cell, mean", f"{n_tokens / n_cells:,.0f}"),
        ("TFLOP/s", f"{result.flops_per_second / 1e12:.3f}"),
        ("its matrix products alone, TFLOP/s", f"{products / 1e12:.3f}"),
        ("its attention alone, TFLOP/s", f"{attention / 1e12:.3f}"),
        ("time over that of both alone", f"{median(result.ratios_to_parts):.2f}"),
        ("memory copy, GB/s", f"{copy / 1e9:,.0f}"),
        (memory, f"{result.memory_bytes / 1e6:,.0f} MB"),
    ]
