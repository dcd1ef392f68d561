"""Is a GPU fed? The work of `rankformer embed` with a stand-in that takes batches at a GPU's pace.

The stand-in has a queue, as a GPU has: a batch begins when it was handed over and the one before is
done, takes a ten-thousandth of a second for each cell, and no core. All else is the real work, from
a gzip .h5ad of real cells over and over to the output. What counts is the share of the time from
the first batch to the last in which the stand-in is busy. `--before OTHER/src` names another
checkout, which takes turns with this one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import anndata
from machine import describe_machine
from pipeline import save_small_model
from processes import RUNNERS, run_measured
from repeated_cells import write_repeated_cells
from reporting import markdown_table, short, write_json

HERE = Path(__file__).resolve().parents[1] / "src"
HEADER = (
    "side", "pace, cells/s", "cells", "busy, %", "in each round", "cells/s",
    "to the first batch, s", "peak, MB", "load",
)  # fmt: skip


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """All sides and paces in turns, each in a process of its own."""
    real = anndata.read_h5ad(arguments.cells)
    cells, model = folder / "cells.h5ad", folder / "model"
    write_repeated_cells(cells, real.X, real.var, -(-arguments.n_cells // real.n_obs))
    save_small_model(arguments, model)
    sides = {"now": HERE}
    if arguments.before:
        sides = {"before": arguments.before.resolve(), **sides}
    results = []
    for number in range(arguments.rounds):
        for rate in arguments.rates:
            for side in list(sides)[:: -1 if number % 2 else 1]:
                tell(f"round {number + 1}, {side}, {rate:,.0f} cells/s")
                command = [sys.executable, RUNNERS / "feeding_runner.py", "--cells", cells]
                command += ["--checkpoint", model, "--target", folder / arguments.target]
                command += ["--rate", str(rate), "--launches", str(arguments.launches)]
                own = {"PYTHONPATH": os.fspath(sides[side])}
                results.append({"side": side, "rate": rate, **run_measured(command, own)})
    return results


def tell(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


def rows(results: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each side and pace: of its best round, as other work only makes them worse."""
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for each in results:
        groups.setdefault((each["side"], each["rate"]), []).append(each)
    lines = []
    for (side, rate), rounds in groups.items():
        best = max(rounds, key=lambda each: float(each["busy_share"]))
        lines.append([
            side, f"{rate:,.0f}", f"{best['n_cells']:,}", f"{100 * best['busy_share']:.1f}",
            ", ".join(f"{100 * each['busy_share']:.1f}" for each in rounds),
            short(best["n_cells"] / best["seconds_from_first_batch_to_last"]),
            short(best["seconds_to_the_first_batch"]), short(best["peak_rss_mb"]["job"]),
            f"{best['load_before']:.1f}",
        ])  # fmt: skip
    return lines


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=Path, required=True, help="an .h5ad file of real counts")
    parser.add_argument("--dictionaries", type=Path, required=True, help="pickles of one release")
    parser.add_argument("--n-cells", type=int, default=200_000)
    parser.add_argument("--rates", type=float, nargs="+", default=[10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--launches", type=int, default=100, help="small calls for each batch")
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--input-length", type=int, help="tokens of a cell, at most")
    parser.add_argument("--target", default="cells.npy", help="name of the output")
    parser.add_argument("--before", type=Path, help="src of another checkout")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    return parser.parse_args()


def main() -> None:
    """Measure, write the JSON, print the table."""
    arguments = parse_arguments()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(arguments, Path(folder))
    settings = {name: getattr(arguments, name) for name in ("launches", "d_model", "target")}
    write_json(arguments.out, {"machine": machine, **settings, "results": results})
    print(markdown_table(HEADER, rows(results)))


if __name__ == "__main__":
    main()
