"""One checkout beside another: starting, tokenizing and embedding, in turns, on the same cells.

The model is rankformer-mini, and what is imported is each checkout's own ``src``. It tells whether
a change made anything slower: `python benchmarks/beside.py --before OTHER/src --cells FILE.h5ad`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from machine import describe_machine, load_average
from processes import timed
from reporting import markdown_table, spread, write_json

HERE = Path(__file__).resolve().parents[1] / "src"
HEADER = ("what", "before", "now", "ratio")
# Rates of the second run, when kernels and tables are there; in float32, and with one thread.
WORK = """
import json, sys, time, logging
import anndata, numpy, torch
import rankformer
torch.set_num_threads(1)
logging.disable(logging.WARNING)
cells = anndata.read_h5ad(sys.argv[1])
cells = cells[numpy.arange(int(sys.argv[2])) % cells.n_obs].copy()
cells.obs_names_make_unique()
embedder = rankformer.Embedder("rankformer-mini", device="cpu", dtype="float32")
figures = {}
for name, work in {
    "tokenize, cells/s": lambda: rankformer.tokenize_cells(cells, "rankformer-mini"),
    "embed, cells/s": lambda: rankformer.embed_cells(cells, embedder),
}.items():
    for _ in range(2):
        began = time.perf_counter()
        work()
        figures[name] = cells.n_obs / (time.perf_counter() - began)
print(json.dumps(figures))
"""
STARTS = {
    "import rankformer, s": ["-c", "import rankformer"],
    "rankformer --help, s": ["-m", "rankformer", "--help"],
    "rankformer embed --help, s": ["-m", "rankformer", "embed", "--help"],
    "rankformer models, s": ["-m", "rankformer", "models"],
}


def measure(source: Path, cells: Path, n_cells: int, bytecode: str) -> dict[str, float]:
    """All figures of one checkout, each in a process of its own."""
    # As installed packages are: compiled to bytecode once, whatever is set on this machine.
    environment = {
        "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode
    }  # fmt: skip
    figures = {name: timed([sys.executable, *words], environment) for name, words in STARTS.items()}
    run = subprocess.run(
        [sys.executable, "-c", WORK, cells, str(n_cells)],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {**figures, **json.loads(run.stdout.splitlines()[-1])}


def main() -> int:
    """Measure both in turns, the first of a round changing, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="src of the other checkout")
    parser.add_argument("--cells", type=Path, required=True, help="an .h5ad with counts")
    parser.add_argument("--n-cells", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sides = {"before": arguments.before, "now": HERE}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    with TemporaryDirectory() as bytecode:
        for each in range(-1, arguments.rounds):
            order = list(sides) if each % 2 else list(sides)[::-1]
            for name in order:
                figures = measure(sides[name], arguments.cells, arguments.n_cells, bytecode)
                # The first round compiles kernels and bytecode, and warms the disk's cache.
                if each >= 0:
                    found[name].append(figures)
    rows = []
    for what in found["now"][0]:
        before, now = ([each[what] for each in found[name]] for name in sides)
        rows.append([what, spread(before), spread(now), f"{median(now) / median(before):.2f}"])
    print(markdown_table(HEADER, rows))
    if arguments.out:
        report = {"machine": describe_machine(), "load": load_average(), "figures": found}
        write_json(arguments.out, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
