"""What workers of Ray cost beside one process: the same run, the same threads, taking turns."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from machine import describe_machine
from processes import run_measured
from reporting import markdown_table, spread, write_json

from cells import repeat_cells

RUNNER = Path(__file__).resolve().parent / "runners" / "engine_runner.py"
SIDES = ("local", "worker process", "ray")
HEADER = (
    "engine", "run, s", "run / local", "after the first shard, s", "that / local", "load before",
)  # fmt: skip
MOST = 1.10


def measure(files: list[Path], arguments: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Figures of each run; each round has all engines."""
    rounds = []
    for number in range(arguments.rounds):
        for side in arguments.engines:
            output = work / f"{number}-{side.replace(' ', '-')}"
            command = [
                sys.executable, RUNNER, *files, "--engine", side, "--output", output,
                "--model", arguments.model, "--shard-cells", str(arguments.shard_cells),
            ]  # fmt: skip
            rounds.append({"round": number, "engine": side, **run_measured(command)})
            print(rounds[-1], file=sys.stderr)
    return rounds


def of(runs: list[dict[str, Any]], side: str, name: str) -> list[float]:
    return [each[name] for each in runs if each["engine"] == side]


def ratios(runs: list[dict[str, Any]], side: str, name: str) -> list[float]:
    """Seconds over those of the local engine, round by round."""
    own, local = of(runs, side, name), of(runs, "local", name)
    return [each / beside for each, beside in zip(own, local, strict=True)]


def show(runs: list[dict[str, Any]], sides: list[str]) -> str:
    """The table."""
    rows = [
        [
            side,
            spread(of(runs, side, "seconds")),
            spread(ratios(runs, side, "seconds")),
            spread(of(runs, side, "seconds_after_first_shard")),
            spread(ratios(runs, side, "seconds_after_first_shard")),
            spread(of(runs, side, "load_before")),
        ]
        for side in sides
    ]
    return markdown_table(HEADER, rows)


def main() -> int:
    """Measure, write the JSON, print the table; fail where Ray costs more than a tenth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="a file, repeated")
    parser.add_argument("--n-cells", type=int, default=10_000, help="in each of two files")
    parser.add_argument("--model", default="rankformer-mini")
    parser.add_argument("--shard-cells", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        files = [work / "a.h5ad", work / "b.h5ad"]
        for file in files:
            repeat_cells(arguments.cells, arguments.n_cells, file)
        runs = measure(files, arguments, work)
    settings = {
        name: getattr(arguments, name) for name in ("n_cells", "model", "shard_cells", "rounds")
    }
    write_json(arguments.out, {"machine": describe_machine(), "settings": settings, "runs": runs})
    print(show(runs, arguments.engines))
    return int(median(ratios(runs, "ray", "seconds")) > MOST)


if __name__ == "__main__":
    sys.exit(main())
