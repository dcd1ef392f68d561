"""The screen of perturbations beside exact runs of all genes: ranks, recall and cost.

Cells of several states; shifts are measured from each cell's own side of the contrast to the other.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch
from machine import describe_machine
from reporting import markdown_table, write_json
from scipy.stats import spearmanr

from rankformer.embed.embedder import Embedder
from rankformer.perturb.exact import ExactPerturber, blocks_of_cells
from rankformer.perturb.screen import Screen
from rankformer.perturb.settings import ScreenSettings
from rankformer.ragged import select_rows
from rankformer.tokens.edits import plan_edits
from rankformer.tokens.tokenize import tokenize_cells

HEADER = (
    "state", "type", "read-out", "exact runs, directions", "what", "within a cell, mean (least)",
    "over cells", "top 20 in 20, in 80", "top 50 in 200", "trust", "exact / screen, s a cell",
    "cost",
)  # fmt: skip


def values_of(parts: list[Any]) -> dict[str, np.ndarray]:
    cosines = np.concatenate([each.cosines for each in parts])
    shifts = np.concatenate([each.shifts for each in parts])
    return {"shift": shifts[:, 0] - shifts[:, 1], "movement": 1 - cosines}


def run_blocks(
    perturber: ExactPerturber | Screen, ragged: Any, kind: str, n_genes: int | None
) -> tuple[dict[str, np.ndarray], Any, float]:
    """Values of so many edits of each cell; their cells and genes; and seconds of all edits.

    The screen estimates all. Where some are run exactly, all would take longer by as much as they
    have more tokens.
    """
    values, cells, genes, seconds = [], [], [], 0.0
    for start, stop in blocks_of_cells(ragged[1], perturber.embedder):
        own = select_rows(ragged, np.arange(start, stop))
        every = plan_edits(own, perturber.frame, kind)
        drawn = draw_edits(every.cells, n_genes)
        is_screen = isinstance(perturber, Screen)
        edits = every if is_screen else every.select(drawn)
        began = time.perf_counter()
        parts = values_of([each for *_, each in perturber.run(own, edits)])
        share = edits.lengths.sum() / every.lengths.sum()
        seconds += (time.perf_counter() - began) / share
        values.append({k: v[drawn] if is_screen else v for k, v in parts.items()})
        cells.append(every.cells[drawn] + start)
        genes.append(every.tokens[drawn])
    joined = {name: np.concatenate([each[name] for each in values]) for name in values[0]}
    return joined, (np.concatenate(cells), np.concatenate(genes)), seconds


def draw_edits(cells: np.ndarray, n_genes: int | None) -> np.ndarray:
    """Places of so many edits of each cell, spread over the ranks at random; all unless given."""
    if n_genes is None:
        return np.arange(len(cells))
    rng = np.random.default_rng(0)
    chosen = []
    for cell in np.unique(cells):
        own = np.flatnonzero(cells == cell)
        cuts = np.array_split(own, min(n_genes, len(own)))
        chosen += [int(rng.choice(cut)) for cut in cuts]
    return np.array(chosen)


def compare(exact: np.ndarray, guess: np.ndarray, cells: np.ndarray, genes: np.ndarray) -> dict:
    within = [
        spearmanr(exact[cells == cell], guess[cells == cell]).statistic for cell in np.unique(cells)
    ]
    sums: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
    for gene, a, b in zip(genes.tolist(), exact.tolist(), guess.tolist(), strict=True):
        own = sums[gene]
        own[0], own[1], own[2] = own[0] + a, own[1] + b, own[2] + 1
    means = np.array([(a / n, b / n) for a, b, n in sums.values() if n >= 3])
    order = [np.argsort(-means[:, i]) for i in range(2)]

    def recall(n_best: int, n_screened: int) -> int:
        return len(set(order[0][:n_best]) & set(order[1][:n_screened]))

    return {
        "within_mean": float(np.mean(within)), "within_least": float(np.min(within)),
        "over_cells": float(spearmanr(means[:, 0], means[:, 1]).statistic),
        "top20_in_20": recall(20, 20), "top20_in_80": recall(20, 80),
        "top50_in_200": recall(50, 200), "n_genes": len(means),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=Path, help="a .h5ad of counts")
    parser.add_argument("--model", default="rankformer-mini")
    parser.add_argument("--type-column", default="cell_type")
    parser.add_argument("--contrast", default="stim", help="a column of two values")
    parser.add_argument("--states", nargs="+", required=True, help="TYPE/VALUE")
    parser.add_argument("--n-cells", type=int, default=70, help="of each state")
    parser.add_argument("--n-genes", type=int, help="of each cell that are run exactly; else all")
    parser.add_argument("--kinds", nargs="+", default=["delete"])
    parser.add_argument("--read-outs", nargs="+", default=["cell"])
    parser.add_argument("--settings", nargs="+", default=["4,6"], help="EXACT_RUNS,DIRECTIONS")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    embedder = Embedder(arguments.model, device="cpu", dtype="float32")
    adata = ad.read_h5ad(arguments.cells)
    tokens = tokenize_cells(adata, embedder.checkpoint.vocabulary)
    ragged = tokens.ragged(0, adata.n_obs)
    contrast = adata.obs[arguments.contrast].astype(str).to_numpy()
    rng = np.random.default_rng(0)
    rows, report = [], []
    for read_out in arguments.read_outs:
        vectors = embedder.cells(ragged, "cls" if read_out == "cls" else "cell").astype(np.float64)
        means = {name: vectors[contrast == name].mean(axis=0) for name in np.unique(contrast)}
        for state in arguments.states:
            cell_type, own_side = state.split("/")
            other = next(name for name in means if name != own_side)
            of_type = adata.obs[arguments.type_column].astype(str).to_numpy() == cell_type
            eligible = np.flatnonzero(of_type & (contrast == own_side))
            chosen = rng.choice(eligible, min(arguments.n_cells, len(eligible)), replace=False)
            own = select_rows(ragged, np.sort(chosen))
            exact = ExactPerturber(embedder, read_out, np.array([means[other], means[own_side]]))
            for kind in arguments.kinds:
                true, (cells, genes), exact_seconds = run_blocks(
                    exact, own, kind, arguments.n_genes
                )
                for setting in arguments.settings:
                    n_exact, n_directions = map(int, setting.split(","))
                    screen = Screen(exact, kind, ScreenSettings(n_exact, n_directions))
                    guess, _, seconds = run_blocks(screen, own, kind, arguments.n_genes)
                    trust = screen.trust.figures()
                    for what in true:
                        figures = compare(true[what], guess[what], cells, genes)
                        report.append({
                            "state": state, "kind": kind, "read_out": read_out,
                            "setting": setting, "what": what, "trust": trust[what],
                            "n_cells": len(chosen), "exact_seconds": exact_seconds,
                            "screen_seconds": seconds, **figures,
                        })  # fmt: skip
                        rows.append((
                            f"{state} ({len(chosen)})", kind, read_out, setting, what,
                            f"{figures['within_mean']:.3f} ({figures['within_least']:.3f})",
                            f"{figures['over_cells']:.3f}",
                            f"{figures['top20_in_20']}, {figures['top20_in_80']}",
                            f"{figures['top50_in_200']}", f"{trust[what]:.3f}",
                            f"{exact_seconds / len(chosen):.2f} / {seconds / len(chosen):.3f}",
                            f"1/{exact_seconds / seconds:.0f}",
                        ))  # fmt: skip
                        print(" | ".join(rows[-1]), flush=True)
    print(markdown_table(HEADER, rows))
    if arguments.out:
        write_json(arguments.out, {"machine": describe_machine(), "model": str(arguments.model),
                                   "mean_tokens": float(np.diff(ragged[1]).mean()),
                                   "figures": report})  # fmt: skip


if __name__ == "__main__":
    main()
