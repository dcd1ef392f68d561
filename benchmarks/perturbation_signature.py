"""From 500 cells in two states to a tested list of genes and its picture, stage by stage.

Which genes would turn one state into the other: a screen of all genes in all cells of one, the
best 50 exactly in 100 cells, tested against genes of like rank, drawn.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from pathlib import Path

import anndata as ad
import numpy as np
import psutil
from machine import describe_machine
from reporting import markdown_table, write_json


class Stages:
    """Seconds from one stage's end to the next one's, from the start of the process."""

    def __init__(self) -> None:
        self.began = self.last = psutil.Process().create_time()
        self.seconds: dict[str, float] = {}

    def end(self, stage: str) -> None:
        now = time.time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.last
        self.last = now


def main() -> None:
    stages = Stages()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=Path, help="a .h5ad of counts")
    parser.add_argument("--model", default="rankformer-mini")
    parser.add_argument("--state", default="stim")
    parser.add_argument("--start", default="STIM")
    parser.add_argument("--goal", default="CTRL")
    parser.add_argument("--n-cells", type=int, default=500)
    parser.add_argument("--exact-runs", type=int, default=4)
    parser.add_argument("--directions", type=int, default=6)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    adata = ad.read_h5ad(arguments.cells)
    states = adata.obs[arguments.state].astype(str).to_numpy()
    rng = np.random.default_rng(0)
    each = arguments.n_cells // 2
    rows = [
        rng.choice(np.flatnonzero(states == name), each, replace=False)
        for name in (arguments.start, arguments.goal)
    ]
    adata = adata[np.sort(np.concatenate(rows))].copy()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "cells.h5ad"
        adata.write_h5ad(path)
        stages.last = time.time()  # What was made for the benchmark alone does not count.
        run_stages(path, arguments, stages, Path(name))
    total = sum(stages.seconds.values())
    table = [(stage, f"{own:.1f}") for stage, own in stages.seconds.items()]
    print(markdown_table(("stage", "s"), [*table, ("all", f"{total:.1f}")]))
    if arguments.out:
        settings = {key: str(value) for key, value in vars(arguments).items() if key != "out"}
        settings["cells"] = arguments.cells.name
        write_json(arguments.out, {"machine": describe_machine(), "settings": settings,
                                   "seconds": stages.seconds, "all": total})  # fmt: skip


def run_stages(path: Path, arguments: argparse.Namespace, stages: Stages, folder: Path) -> None:
    from rankformer.embed.embedder import Embedder
    from rankformer.perturb.files import name_rows
    from rankformer.perturb.run import PerturbationRun
    from rankformer.perturb.settings import Perturbation, ScreenSettings, States
    from rankformer.perturb.statistics import compare_genes
    from rankformer.perturb.table import PerturbationTable, gather
    from rankformer.show.perturbation_plots import write_volcano
    from rankformer.tokens.tokenize import open_tokens

    stages.end("imports")
    embedder = Embedder(arguments.model)
    with closing(open_tokens(path, embedder.checkpoint.vocabulary)) as stream:
        states = States(arguments.state, arguments.start, arguments.goal)
        perturbation = Perturbation(
            states=states, method="screen", top=50, exact_cells=100,
            screen=ScreenSettings(arguments.exact_runs, arguments.directions),
        )  # fmt: skip
        run = PerturbationRun([stream], embedder, perturbation)
        stages.end("reading, encoding, both states' embeddings")
        table = PerturbationTable(run, name_rows([stream], {}))
        parts = []
        for part in run.perturb():
            parts.append(table.columns(part))
            what = "all genes" if part.method == "screen" else "best 50 genes, 100 cells"
            stages.end(f"{part.method}: {what}")
        rows = gather(parts)
        trust = run.screen.trust.figures() if run.screen else {}
    rows.to_parquet(folder / "table.parquet")
    tested = compare_genes(rows)
    stages.end("test against genes of like rank")
    write_volcano(tested, folder / "volcano.png")
    stages.end("picture")
    print(f"{len(rows):,} rows; trust {trust}; first: {', '.join(tested['symbol'].head(12))}")


if __name__ == "__main__":
    main()
