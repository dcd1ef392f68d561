"""A plan on paper: hours, cost and disk for millions of cells, from rates that were measured.

Rates, machines and prices are in plan.json beside it; put your own in a copy:

    python benchmarks/plan.py --given my-plan.json
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from reporting import markdown_table

from rankformer.checkpoints.registry import MODELS, PublishedModel

GIVEN = Path(__file__).with_name("plan.json")
MARK, END = "<!-- the plan: benchmarks/plan.py -->", "<!-- /the plan -->"
Given = dict[str, Any]


def operations(model: PublishedModel, tokens: float) -> float:
    """Of one cell of so many tokens: products of the layers, and attention."""
    d_model, d_ff = model.d_model, model.d_ff
    tokens = min(tokens, model.release.input_length)
    return model.n_layers * (
        (8 * d_model**2 + 4 * d_model * d_ff) * tokens + 4 * d_model * tokens**2
    )


def shapes() -> list[PublishedModel]:
    """A model of each shape and input length."""
    found: dict[tuple[int, ...], PublishedModel] = {}
    for model in MODELS:
        shape = model.n_layers, model.d_model, model.d_ff, model.release.input_length
        found.setdefault(shape, model)
    return list(found.values())


def encoder_rate(given: Given, device: str, model: PublishedModel) -> tuple[float, bool]:
    """Cells a second of the encoder on one device, and whether they were measured there.

    One that was not measured takes as many operations a second as another model that was.
    """
    rates, cell = given["rates"][device], given["tokens"]
    if model.name in rates:
        ratio = operations(model, rates["tokens"]) / operations(model, cell)
        return rates[model.name] * ratio, True
    other = next(each for each in MODELS if each.name == given["estimated_from"][model.name])
    rate, _ = encoder_rate(given, device, other)
    return rate * operations(other, cell) / operations(model, cell), False


def seconds_of(given: Given, machine: Given, model: PublishedModel, n_cells: int) -> float:
    """Wall time of a run: its start, and its cells at the pace of the slowest stage."""
    rate, _ = encoder_rate(given, machine["rates"], model)
    encoding = rate * machine["times"] * machine["efficiency"]
    reading = given["reading"]["cells_per_second"] * machine["processes"]
    slowest = min(encoding, reading) * given["share_of_time_at_work"]["value"]
    return float(given["start_seconds"]["value"] + n_cells / slowest)


def rows(given: Given) -> list[list[str]]:
    """A row for each shape of model and each machine."""
    table = []
    for model in shapes():
        for name, machine in given["machines"].items():
            rate, was_measured = encoder_rate(given, machine["rates"], model)
            rate *= machine["times"] * machine["efficiency"]
            sign = "" if was_measured else "≈ "
            plans = []
            for n_cells in given["cells"]:
                hours = seconds_of(given, machine, model, n_cells) / 3600
                cost = hours * machine["dollars_per_hour"]
                plans.append(f"{duration(hours)}, ${digits(cost)}")
            table.append([model.name, name, f"{sign}{digits(rate)}", *plans])
    return table


def disk_rows(given: Given) -> list[list[str]]:
    """A row for each width: the shards on the disk, 4 bytes a number."""
    widths = sorted({model.d_model for model in MODELS})
    return [
        [f"{width:,}", *(f"{digits(4 * width * n_cells / 1e9)} GB" for n_cells in given["cells"])]
        for width in widths
    ]  # fmt: skip


def duration(hours: float) -> str:
    """In the unit in which it is neither long nor a small fraction."""
    return f"{digits(60 * hours)} min" if hours < 1 else f"{digits(hours)} h"


def digits(number: float) -> str:
    """Two digits that count: a plan is no better."""
    if number <= 0:
        return "0"
    decimals = max(0, 1 - math.floor(math.log10(number)))
    return f"{round(number, 1 - math.floor(math.log10(number))):,.{decimals}f}"


def plan(given: Given) -> str:
    """Both tables."""
    cells = [f"{n_cells / 1e6:,.0f} million cells" for n_cells in given["cells"]]
    hours = markdown_table(("model", "machine", "encoder, cells/s", *cells), rows(given))
    disk = markdown_table(("width of the model", *cells), disk_rows(given))
    return f"{hours}\n\n{disk}"


def main() -> None:
    """Print the tables; or write them to a page, between its marks."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--given", type=Path, default=GIVEN, help="rates, machines and prices")
    parser.add_argument("--write", type=Path, help="a page with the marks of the plan")
    arguments = parser.parse_args()
    text = plan(json.loads(arguments.given.read_text(encoding="utf-8")))
    if arguments.write is None:
        print(text)
        return
    page = arguments.write.read_text(encoding="utf-8")
    before, after = page.split(MARK)[0], page.split(END)[1]
    arguments.write.write_text(f"{before}{MARK}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
