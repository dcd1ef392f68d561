"""rankformer-mini on tissues that it never saw, beside HVG + PCA of the same cells.

Files are those of package_cells.py. Labels are predicted from the embedding of other cells of the
same donor, in five folds; intervals are of a bootstrap over cells, as each file is of one donor.
Mouse cells are embedded by their one-to-one human orthologs.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import anndata as ad
from machine import describe_machine
from reporting import markdown_table, write_json

import rankformer

FILES = ("pancreas", "retina", "heart", "mouse_brain")
FIGURES = {"knn_macro_f1": "neighbours, macro-F1", "linear_macro_f1": "linear probe, macro-F1"}
KEY = "rankformer-mini"


def main() -> None:
    """Embed and evaluate each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="folder of package_cells.py")
    parser.add_argument("--seeds", type=int, default=5, help="draws of the folds")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    rows = [row for name in FILES for row in measure(options.cells, name, options.seeds)]
    write_json(options.out, {"machine": describe_machine(), "rows": rows})
    header = ("cells", "method", *FIGURES.values())
    print(markdown_table(header, map(_line, rows)))


def measure(folder: Path, name: str, n_seeds: int) -> list[dict[str, Any]]:
    """Figures of each method on one file."""
    adata = ad.read_h5ad(folder / f"{name}.h5ad")
    orthologs = None
    if name.startswith("mouse"):
        orthologs = rankformer.read_orthologs(folder / "mouse_to_human.csv", "mouse")
    rankformer.tl.embed(
        adata, model="rankformer-mini", dtype="float32", key_added=KEY, orthologs=orthologs
    )
    evaluation = rankformer.evaluate_embeddings(adata, KEY, label="cell_type", n_seeds=n_seeds)
    summary = evaluation.summary()
    n_labels = len(evaluation.settings["classes"])
    genes = adata.uns["rankformer"][KEY]["sources"]["0"]["genes"]
    return [
        {
            "cells": name, "n_cells": evaluation.n_cells, "n_labels": n_labels, "method": method,
            "genes": {each: genes[each] for each in ("n_genes", "counts_kept") if each in genes},
            **{each: summary.loc[(method, each), ["mean", "low", "high"]].to_dict()
               for each in FIGURES},
        }
        for method in summary.index.get_level_values("method").unique()
    ]  # fmt: skip


def _line(row: dict[str, Any]) -> list[str]:
    told = f"{row['cells'].replace('_', ' ')}: {row['n_cells']:,} cells, {row['n_labels']} labels"
    shown = ["{mean:.2f} ({low:.2f} to {high:.2f})".format(**row[each]) for each in FIGURES]
    return [told, row["method"], *shown]


if __name__ == "__main__":
    main()
