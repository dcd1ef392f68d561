"""How long rankformer takes to answer: fresh processes, the commands taking turns.

For each the seconds from its start to its end, and those that CPUs worked for it, which other work
on the machine changes less. `--before OTHER/src` names a checkout that takes turns with this one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from machine import describe_machine, load_average
from processes import Spent, spent
from reporting import markdown_table, spread, write_json

HERE = Path(__file__).resolve().parents[1] / "src"
EMBED = ["-m", "rankformer", "embed", "cells.h5ad", "-o", "out.h5ad", "--overwrite",
         "--model", "rankformer-mini"]  # fmt: skip
WRITE_CELLS = "import rankformer; rankformer.datasets.blood_cells()[:50].write_h5ad('cells.h5ad')"
HEADER = ("what", "side", "seconds", "CPU seconds", "target, s", "met")


@dataclass(frozen=True)
class Measured:
    """Arguments of Python, and the target in seconds."""

    arguments: list[str]
    target: float | None = None
    compiles: bool = False
    """Nothing was compiled before; measured in few rounds."""


MEASURED = {
    "python -c pass": Measured(["-c", "pass"]),
    "import torch": Measured(["-c", "import torch"]),
    "import rankformer": Measured(["-c", "import rankformer"], 0.3),
    "rankformer --help": Measured(["-m", "rankformer", "--help"], 0.5),
    "rankformer models": Measured(["-m", "rankformer", "models"]),
    "rankformer embed, 50 cells": Measured(EMBED, 3.0),
    "rankformer embed, 50 cells, kernels not compiled yet": Measured(EMBED, compiles=True),
}
Figures = dict[str, dict[str, list[Spent]]]


def measure(sides: dict[str, Path], rounds: int, compiling_rounds: int, folder: Path) -> Figures:
    """What was spent on each command in each round, after one that fills the caches."""
    for source in sides.values():
        _run(["-c", WRITE_CELLS], source, folder)
        for each in MEASURED.values():
            if not each.compiles:
                _run(each.arguments, source, folder)
    figures: Figures = {name: {side: [] for side in sides} for name in MEASURED}
    for name, side, each in _turns(list(sides), rounds, compiling_rounds):
        with TemporaryDirectory() as kernels:
            own = {"NUMBA_CACHE_DIR": kernels} if each.compiles else {}
            figures[name][side].append(_run(each.arguments, sides[side], folder, own))
    return figures


def _turns(
    sides: list[str], rounds: int, compiling_rounds: int
) -> Iterator[tuple[str, str, Measured]]:
    for each in range(rounds):
        for name, measured in MEASURED.items():
            if not measured.compiles or each < compiling_rounds:
                yield from ((name, side, measured) for side in sides[:: -1 if each % 2 else 1])


def _run(
    arguments: list[str], source: Path, folder: Path, own: dict[str, str] | None = None
) -> Spent:
    # Bytecode is kept, as of installed packages, whatever is set on this machine.
    environment = {"PYTHONPATH": os.fspath(source), "PYTHONDONTWRITEBYTECODE": ""}
    return spent([sys.executable, *arguments], environment | (own or {}), folder)


def is_met(name: str, figures: Figures) -> bool | None:
    """Is the median of the whole process, interpreter included, under the target?"""
    target = MEASURED[name].target
    return None if target is None else median(each.wall for each in figures[name]["now"]) < target


def show(figures: Figures) -> str:
    """The table."""
    words = {True: "yes", False: "NO", None: "-"}
    rows = []
    for name, sides in figures.items():
        for side, values in sides.items():
            wall, cpu = (spread(getattr(each, what) for each in values) for what in ("wall", "cpu"))
            met = words[is_met(name, figures) if side == "now" else None]
            rows.append([f"`{name}`", side, wall, cpu, str(MEASURED[name].target or "-"), met])
    return markdown_table(HEADER, rows)


def main() -> int:
    """Measure, write the JSON, print the table; fail where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compiling-rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="src of another checkout")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    sides = {"before": arguments.before.resolve()} if arguments.before else {}
    loads = [load_average()]
    with TemporaryDirectory() as folder:
        figures = measure(
            {**sides, "now": HERE}, arguments.rounds, arguments.compiling_rounds, Path(folder)
        )
    loads.append(load_average())
    report = {
        "machine": describe_machine(),
        "load_before_and_after": loads,
        "targets": {name: each.target for name, each in MEASURED.items()},
        "seconds": {
            name: {side: [asdict(each) for each in values] for side, values in own.items()}
            for name, own in figures.items()
        },
    }
    write_json(arguments.out, report)
    print(show(figures))
    return int(any(is_met(name, figures) is False for name in MEASURED))


if __name__ == "__main__":
    sys.exit(main())
