"""Cells named with and without Harmony on the embeddings, between conditions and laboratories.

Macro-F1 of the best label of each cell, by neighbours and by the agreement of all ways, and how
well both sides mix: of the 30 nearest cells, the share that is of the other side, with as many
cells of either. At most 600 cells a side. rankformer-mini has seen none of these cells in its
pretraining.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from annotation_pairs import PAIRS, draw, macro_f1, sets
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, write_json

import rankformer
from rankformer import Embedder, Labelling
from rankformer.annotate.harmony import integrate_harmony
from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit

MEASURED = (
    "ifnb, control → stimulated",
    "ifnb, stimulated → control",
    "pbmc3k → ifnb, stimulated",
    "ifnb → pbmc3k",
)
METHODS, SIDES = ("neighbours", "agreement"), ("none", "harmony")
N_NEAREST, MOST_CELLS = 30, 600


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="as of annotation_pairs.py")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    embedder = Embedder("rankformer-mini", dtype="float32")
    cells = sets(arguments.cells)
    rows = []
    for name in MEASURED:
        reference, query = (draw(cells[each], MOST_CELLS) for each in PAIRS[name])
        rows.append({"pair": name, **measure(reference, query, embedder)})
        print(name, flush=True)
    write_json(arguments.out, {"machine": describe_machine(), "rows": rows})
    header = ("reference → query", *(f"{each}, {side}" for each in (*METHODS, "mixed")
                                     for side in SIDES))  # fmt: skip
    print(markdown_table(header, map(_line, rows)))


def measure(reference: ad.AnnData, query: ad.AnnData, embedder: Embedder) -> dict[str, Any]:
    """Figures of one pair, with and without."""
    built = rankformer.build_reference(reference, embedder, "label")
    truth, classes = query.obs["label"].to_numpy(str), np.unique(reference.obs["label"])
    found: dict[str, Any] = {"mixed": mixing(reference, query, embedder)}
    for method in METHODS:
        found[method] = {}
        for side in SIDES:
            how = Labelling(method=method, integrate=side)
            named = rankformer.annotate_cells(query, built, embedder, {"label": "t"}, vote=how)
            best = named.labels["t"].further["best"].astype(str)
            found[method][side] = macro_f1(truth, best, classes)
    return found


def mixing(reference: ad.AnnData, query: ad.AnnData, embedder: Embedder) -> dict[str, float]:
    """The share of the nearest cells that is of the other side."""
    n_cells = min(reference.n_obs, query.n_obs)
    points = np.concatenate(
        [rankformer.embed_cells(each[:n_cells], embedder).vectors for each in (reference, query)]
    )
    scale_to_unit(points)
    sides = np.repeat(np.array(["reference", "query"], dtype=object), n_cells)
    return {
        "none": _share_of_others(points, sides),
        "harmony": _share_of_others(integrate_harmony(points, sides, seed=0), sides),
    }


def _share_of_others(points: NDArray[np.float32], sides: NDArray[np.object_]) -> float:
    points = points.copy()
    scale_to_unit(points)
    nearest, _ = NeighbourIndex.build(points).search_others(np.arange(len(points)), N_NEAREST)
    return float((sides[nearest] != sides[:, None]).mean())


def _line(row: dict[str, Any]) -> list[str]:
    return [row["pair"], *(f"{row[each][side]:.3f}" for each in (*METHODS, "mixed")
                           for side in SIDES)]  # fmt: skip


if __name__ == "__main__":
    main()
