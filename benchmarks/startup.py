"""How long rankformer takes to answer: medians over fresh processes, the commands taking turns."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

from machine import describe_machine, load_average
from processes import timed
from reporting import markdown_table, spread, write_json

COMMAND = Path(sys.executable).with_name("rankformer")
# What is run, and its target in seconds.
MEASURED: dict[str, tuple[list[str | Path], float | None]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    "import rankformer": ([sys.executable, "-c", "import rankformer"], 0.3),
    "rankformer --help": ([COMMAND, "--help"], 0.5),
    "rankformer models": ([COMMAND, "models"], None),
}
HEADER = ("what", "median (range), s", "target, s", "met")


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each command in each round, after one that warms the disk's cache."""
    for command, _ in MEASURED.values():
        timed(command)
    seconds: dict[str, list[float]] = {name: [] for name in MEASURED}
    for _ in range(rounds):
        for name, (command, _) in MEASURED.items():
            seconds[name].append(timed(command))
    return seconds


def is_met(name: str, seconds: dict[str, list[float]]) -> bool | None:
    """Is the median of the whole process, interpreter included, under the target?"""
    target = MEASURED[name][1]
    return None if target is None else median(seconds[name]) < target


def show(seconds: dict[str, list[float]]) -> str:
    """The table."""
    words = {True: "yes", False: "NO", None: "-"}
    rows = [
        [
            f"`{name}`",
            spread(values),
            str(MEASURED[name][1] or "-"),
            words[is_met(name, seconds)],
        ]
        for name, values in seconds.items()
    ]
    return markdown_table(HEADER, rows)


def main() -> int:
    """Measure, write the JSON, print the table; fail where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"machine": describe_machine(), "load_before": load_average()}
    seconds = measure(arguments.rounds)
    report["targets"] = {name: target for name, (_, target) in MEASURED.items()}
    report["seconds"] = seconds
    write_json(arguments.out, report)
    print(show(seconds))
    return int(any(is_met(name, seconds) is False for name in MEASURED))


if __name__ == "__main__":
    sys.exit(main())
