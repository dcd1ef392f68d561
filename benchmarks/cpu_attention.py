"""Ways of attention on a CPU in bfloat16, beside the rate of a product, which is their ceiling.

One thread. The ways take turns, and the least time of the rounds counts, so that other work on the
machine disturbs all alike. Values are drawn from a standard normal distribution.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine, load_average
from reporting import markdown_table, short, write_json
from torch import Tensor

from rankformer.model.attention_by_cell import attend_each
from rankformer.model.cpu.blocked_attention import attend_blocked
from rankformer.model.cpu.flags import cpu_flags
from rankformer.model.cpu.rounded_attention import attend_rounded
from rankformer.model.cpu.tiles import NEEDED
from rankformer.model.segments import Segments

N_HEADS, HEAD_SIZE = 8, 64
N_TOKENS = 4_096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[150, 512, 1_640, 4_096])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(length, arguments.rounds) for length in arguments.lengths]
    report = {
        "machine": describe_machine(), "load": load_average(), "heads": N_HEADS,
        "head_size": HEAD_SIZE, "rows": rows,
    }  # fmt: skip
    write_json(arguments.out, report)
    names = list(rows[0]["gflop_per_second"])
    header = ["tokens of a cell", *(f"{each}, GFLOP/s" for each in names), "errors, in thousandths"]
    print(markdown_table(header, [_line(row, names) for row in rows]))


@torch.inference_mode()
def measure(length: int, n_rounds: int) -> dict[str, Any]:
    """Rates, and errors relative to float64, with cells of one length."""
    offsets = range(0, max(N_TOKENS // length, 1) * length + 1, length)
    segments = Segments.between(offsets)
    shape = (offsets[-1], N_HEADS, HEAD_SIZE)
    heads = [torch.randn(shape, dtype=torch.bfloat16) for _ in range(3)]
    hidden, weight = (
        torch.randn(each, dtype=torch.bfloat16) for each in ((2_048, 512), (512, 2_048))
    )

    def bind(way: Callable[..., Tensor]) -> Callable[[], Tensor]:
        return lambda: way(*heads, segments, 0.0)

    ways = {"torch's attention": bind(attend_each), "blocks of products": bind(attend_blocked)}
    if NEEDED in cpu_flags():
        ways["rounded to 13 bits"] = bind(attend_rounded)
    expected = attend_each(*(each.double() for each in heads), segments, 0.0)
    errors = {
        name: float((way().double() - expected).norm() / expected.norm())
        for name, way in ways.items()
    }
    works = {**ways, "a product": lambda: hidden @ weight}
    seconds = least_seconds(works, n_rounds)
    flops = sum(4 * N_HEADS * HEAD_SIZE * (stop - start) ** 2 for start, stop in pairwise(offsets))
    done = {**dict.fromkeys(ways, flops), "a product": 2 * hidden.numel() * weight.shape[1]}
    rates = {name: done[name] / seconds[name] / 1e9 for name in works}
    return {"tokens": length, "gflop_per_second": rates, "relative_error": errors}


def least_seconds(works: dict[str, Callable[[], Tensor]], n_rounds: int) -> dict[str, float]:
    """Of each work, in rounds in which all take turns."""
    least = dict.fromkeys(works, float("inf"))
    for _ in range(n_rounds):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            least[name] = min(least[name], time.perf_counter() - began)
    return least


def _line(row: dict[str, Any], names: list[str]) -> list[str]:
    rates = [short(row["gflop_per_second"][name]) for name in names]
    errors = "; ".join(short(1e3 * each) for each in row["relative_error"].values())
    return [f"{row['tokens']:,}", *rates, errors]


if __name__ == "__main__":
    main()
