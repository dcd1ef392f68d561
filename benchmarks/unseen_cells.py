"""rankformer-mini on cells that it never saw, beside HVG + PCA and scVI of the same cells.

Files are those of package_cells.py, those of shared data, and the example's. Labels are predicted
from the embedding of other cells of the same file, in five folds; intervals are of a bootstrap over
cells, as no file but ifnb is of several donors and that one does not name them. At most 1,000 cells
a file. scVI is trained on all of them, without labels. Mouse cells are embedded by their one-to-one
human orthologs. Where the JSON is there, what is not measured anew stays in it.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, write_json
from scipy.sparse import csr_matrix

import rankformer
from rankformer.evaluate.expression_baselines import choose_variable_genes, log_normalise
from rankformer.evaluate.integration import integrate_scvi

LABELS = {
    "blood_cells": "cell_type", "pbmc3k": "cell_type", "ifnb": "cell_type",
    "sc_mixology": "cell_line", "pancreas": "cell_type", "retina": "cell_type",
    "heart": "cell_type", "mouse_brain": "cell_type",
}  # fmt: skip
UNLABELLED = ("nan", "unassigned")
MOST_CELLS, SEED = 1_000, 0
FIGURES = {"knn_macro_f1": "neighbours, macro-F1", "linear_macro_f1": "linear probe, macro-F1"}
KEY, SCVI = "rankformer-mini", "scVI, one batch"


def main() -> None:
    """Embed and evaluate each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="folder of all files")
    parser.add_argument("--before", type=Path, help="folder of a model to set beside")
    parser.add_argument("--only", nargs="+", choices=LABELS, default=LABELS, help="some files")
    parser.add_argument(
        "--without-scvi",
        action="store_true",
        help="keep scVI's figures of these cells and folds",
    )
    parser.add_argument("--seeds", type=int, default=5, help="draws of the folds")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    models = {KEY: KEY, **({"the one before": str(options.before)} if options.before else {})}
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    order = list(LABELS)
    for name in options.only:
        found = measure(options.cells, name, models, options.seeds, not options.without_scvi)
        again = {(row["cells"], row["method"]) for row in found}
        rows = [row for row in rows if (row["cells"], row["method"]) not in again] + found
        rows.sort(key=lambda row: order.index(row["cells"]))
        write_json(options.out, {"machine": describe_machine(), "rows": rows})
    header = ("cells", "method", *FIGURES.values())
    print(markdown_table(header, map(_line, rows)))


def measure(
    folder: Path, name: str, models: dict[str, str], n_seeds: int, with_scvi: bool
) -> list[dict[str, Any]]:
    """Figures of each method on one file."""
    adata = draw_cells(ad.read_h5ad(folder / f"{name}.h5ad"), LABELS[name], MOST_CELLS)
    gene_ids = "ensembl_id" if "ensembl_id" in adata.var else None
    orthologs = None
    if name.startswith("mouse"):
        orthologs = rankformer.read_orthologs(folder / "mouse_to_human.csv", "mouse")
    for key, model in models.items():
        rankformer.tl.embed(
            adata, model=model, dtype="float32", key_added=key, orthologs=orthologs,
            gene_ids=gene_ids,
        )  # fmt: skip
    keys = list(models)
    if with_scvi:
        adata.obsm[SCVI] = embed_with_scvi(csr_matrix(adata.X))
        keys.append(SCVI)
    evaluation = rankformer.evaluate_embeddings(adata, keys, label=LABELS[name], n_seeds=n_seeds)
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


def draw_cells(adata: ad.AnnData, label: str, most_cells: int) -> ad.AnnData:
    """Some labelled cells that are one cell each, always the same."""
    is_taken = ~adata.obs[label].astype(str).isin(UNLABELLED).to_numpy()
    if "demuxlet_cls" in adata.obs:
        is_taken &= (adata.obs["demuxlet_cls"] == "SNG").to_numpy()
    drawn = np.random.default_rng(SEED).permutation(np.flatnonzero(is_taken))[:most_cells]
    return adata[np.sort(drawn)].copy()


def embed_with_scvi(counts: csr_matrix) -> NDArray[np.float32]:
    """Latent variables of the genes that HVG + PCA takes."""
    genes = choose_variable_genes(log_normalise(counts))
    one_batch = np.full(counts.shape[0], "one", dtype=object)
    return integrate_scvi(counts, genes, one_batch, seed=SEED)


def _line(row: dict[str, Any]) -> list[str]:
    told = f"{row['cells'].replace('_', ' ')}: {row['n_cells']:,} cells, {row['n_labels']} labels"
    shown = ["{mean:.2f} ({low:.2f} to {high:.2f})".format(**row[each]) for each in FIGURES]
    return [told, row["method"], *shown]


if __name__ == "__main__":
    main()
