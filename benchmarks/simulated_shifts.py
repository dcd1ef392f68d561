"""By whose labels the shift of a query is best estimated, on batch effects that are simulated.

Half of the cells of a set are the reference, at most 1,300, or a third of that in every other draw;
up to 600 others are the query. Molecules of both are thinned by a factor for each gene, drawn from
a log-normal distribution of the width that is given for the query and of half of it for the
reference. The query may also have fewer molecules, or a response: 150 genes that make up the given
share of a cell's molecules, with rates that differ between kinds of cells, as after a stimulus. Or
it has cells of the commonest kind alone, as after sorting.

For each: macro-F1 of the mean of all three ways, of the cells as they are, and less the shift as
the labels of the regression give it, those of all three ways, and those that `rankformer annotate`
relies on. "Before" is its rule until December 2026: the labels of the regression, or no shift where
the ways then agree on more cells.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch
from annotation_pairs import lesson_and_cells, macro_f1
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, write_json
from scipy.sparse import csc_matrix, csr_matrix

from rankformer import Checkpoint, Embedder
from rankformer.annotate.shift import Shift, Sight, choose_shift, shifts_by_each
from rankformer.annotate.ways import AGREEMENT, LOGISTIC, see

SETS = ("pancreas", "heart", "retina", "pbmc3k")
MOST_REFERENCE, MOST_QUERY, N_RESPONDING = 1300, 600, 150
RULES = ("as they are", "by the regression", "by all three", "before", "now")


@dataclass(frozen=True)
class Effect:
    """A batch effect: the width of the genes' factors, the depth, the share of a response.

    And whether the query was sorted, so that all of its cells are of one kind.
    """

    width: float
    depth: float = 1.0
    response: float = 0.0
    is_sorted: bool = False


EFFECTS = {
    "genes, 0.6": Effect(0.6), "genes, 1.2": Effect(1.2),
    "genes, 1.0, half the depth": Effect(1.0, depth=0.5),
    "genes, 0.4, 0.3 of the depth": Effect(0.4, depth=0.3),
    "genes, 0.3, response of 0.1": Effect(0.3, response=0.1),
    "genes, 0.5, response of 0.3": Effect(0.5, response=0.3),
    "genes, 0.4, one kind": Effect(0.4, is_sorted=True),
}  # fmt: skip


def read_cells(path: Path) -> ad.AnnData:
    """Cells with labels."""
    cells = ad.read_h5ad(path)
    kinds = cells.obs["cell_type"].astype(str)
    cells.obs["label"] = kinds
    return cells[(kinds != "unassigned").to_numpy()].copy()


def thin(counts: Any, kept: NDArray[np.float64], rng: np.random.Generator) -> csr_matrix:
    """Keep each molecule of a gene with a chance."""
    columns = csc_matrix(counts).copy()
    chances = np.repeat(np.minimum(kept, 1), np.diff(columns.indptr))
    columns.data = rng.binomial(columns.data.astype(np.int64), chances).astype(np.float32)
    columns.eliminate_zeros()
    return columns.tocsr()


def respond(
    counts: csr_matrix, labels: NDArray[np.str_], share: float, rng: np.random.Generator
) -> csr_matrix:
    """Add molecules of some genes, more in some kinds of cells than in others."""
    found_in = np.diff(counts.tocsc().indptr)
    genes = rng.choice(np.flatnonzero(found_in > 0.01 * len(labels)), N_RESPONDING, replace=False)
    rates = np.exp(rng.normal(np.log(share / N_RESPONDING), 1.0, N_RESPONDING))
    of_kind = {kind: rates * np.exp(rng.normal(0, 0.7, N_RESPONDING)) for kind in np.unique(labels)}
    depths = np.asarray(counts.sum(axis=1)).ravel()
    more = rng.poisson(np.array([of_kind[kind] for kind in labels]) * depths[:, None])
    rows = np.repeat(np.arange(len(labels)), N_RESPONDING)
    places = (rows, np.tile(genes, len(labels)))
    added = csr_matrix((more.ravel().astype(np.float32), places), shape=counts.shape)
    added.eliminate_zeros()
    return csr_matrix(counts + added)


def simulate(cells: ad.AnnData, effect: Effect, draw: int) -> tuple[ad.AnnData, ad.AnnData]:
    """Reference and query."""
    rng = np.random.default_rng(draw)
    order = rng.permutation(cells.n_obs)
    half = min(cells.n_obs // 2, MOST_REFERENCE)
    n_reference = half if draw % 2 == 0 else max(250, half // 3)
    reference = cells[np.sort(order[:n_reference])].copy()
    others = order[half:]
    if effect.is_sorted:
        labels = cells.obs["label"].iloc[others]
        others = others[(labels == labels.mode()[0]).to_numpy()]
    query = cells[np.sort(others[:MOST_QUERY])].copy()
    for side, width, depth in (
        (query, effect.width, effect.depth),
        (reference, effect.width / 2, 1.0),
    ):
        factors = np.exp(rng.normal(0, width, cells.n_vars))
        side.X = thin(side.X, depth * factors / np.quantile(factors, 0.99), rng)
    if effect.response:
        query.X = respond(query.X, query.obs["label"].to_numpy(str), effect.response, rng)
    return reference, query


def measure(reference: ad.AnnData, query: ad.AnnData, embedder: Embedder) -> dict[str, Any]:
    """Macro-F1 by each rule, and by whose labels the shift is known now."""
    lesson, classes, cells, _ = lesson_and_cells(reference, query, embedder)
    truth, sights = query.obs["label"].to_numpy(str), see(lesson, cells)
    by_each = shifts_by_each(sights, AGREEMENT)
    now = choose_shift(by_each, AGREEMENT)

    def f1(shift: Shift | None) -> float:
        said = np.mean([_say(each, way, shift) for way, each in sights.items()], axis=0)
        return macro_f1(truth, classes[said.argmax(axis=1)], classes)

    by_regression = by_each[LOGISTIC]
    is_better = by_regression.agreement.mean() >= by_regression.agreement_without
    shifts = (
        None, by_regression, by_each[AGREEMENT], by_regression if is_better else None,
        now if now.is_credible else None,
    )  # fmt: skip
    figures = {rule: f1(shift) for rule, shift in zip(RULES, shifts, strict=True)}
    return {"n_reference": len(lesson), "by": now.by, "macro_f1": figures}


def _say(sight: Sight, way: str, shift: Shift | None) -> NDArray[np.float32]:
    return sight.say() if shift is None else sight.say(shift.of[way])


def show(rows: list[dict[str, Any]]) -> str:
    """Means over sets and draws, for each effect and for all; and the difference with its error."""
    lines = []
    for name in (*EFFECTS, "all"):
        own = [each["macro_f1"] for each in rows if name in ("all", each["effect"])]
        if own:
            means = [f"{np.mean([each[rule] for each in own]):.3f}" for rule in RULES]
            gain = np.array([each["now"] - each["before"] for each in own])
            error = gain.std() / np.sqrt(len(gain))
            lines.append([name, str(len(own)), *means, f"{gain.mean():+.3f} ± {error:.3f}"])
    return markdown_table(("effect", "runs", *RULES, "now less before"), lines)


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="folder of the four sets")
    parser.add_argument("--draws", type=int, default=2, help="of each set and effect")
    parser.add_argument("--first-draw", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    embedder = Embedder(Checkpoint.open("rankformer-mini"), dtype="float32")
    rows: list[dict[str, Any]] = []
    for draw in range(arguments.first_draw, arguments.first_draw + arguments.draws):
        for of in SETS:
            cells = read_cells(arguments.cells / f"{of}.h5ad")
            for name, effect in EFFECTS.items():
                found = measure(*simulate(cells, effect, draw), embedder)
                rows.append({"cells": of, "effect": name, "draw": draw, **found})
                print(of, name, draw, found, flush=True)
                write_json(arguments.out, {"machine": describe_machine(), "rows": rows})
    print(show(rows))


if __name__ == "__main__":
    main()
