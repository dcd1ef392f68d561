"""One small picture of each kind, of made-up results: for comparison with those kept here."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from rankformer import pl

BASELINE = Path(__file__).parent / "baseline"
_DPI = 90
TYPES = ("B cells", "CD4 T cells", "Monocytes", "NK cells")


def cells(n: int = 240) -> ad.AnnData:
    """Four types of cells, each with a place and three genes of its own; some without a label."""
    rng = np.random.default_rng(1)
    codes = np.arange(n) % len(TYPES)
    means = np.full((n, 20), 0.4)
    for code in range(len(TYPES)):
        means[codes == code, 3 * code : 3 * code + 3] = 5
    adata = ad.AnnData(csr_matrix(rng.poisson(means).astype(np.float32)))
    adata.var_names = [f"ENSG{i:011d}" for i in range(20)]
    adata.var["gene_symbol"] = [f"GENE{i}" for i in range(20)]
    adata.obs["cell_type"] = pd.Categorical(np.array(TYPES)[codes])
    adata.obs.loc[adata.obs_names[::40], "cell_type"] = np.nan
    adata.obs["n_counts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    guess = np.where(rng.random(n) < 0.2, rng.permutation(codes), codes)
    adata.obs["predicted"] = np.array(TYPES)[guess]
    centres = np.array([[0, 0], [4, 1], [1, 5], [5, 5]])
    adata.obsm["X_umap"] = centres[codes] + rng.normal(size=(n, 2))
    adata.obsm["X_geneformer"] = np.eye(6)[codes] + 0.1 * rng.normal(size=(n, 6))
    return adata


def report() -> pd.DataFrame:
    """A gene report of a hundred variables, and their counts in a column of its own."""
    fates = np.repeat(["mapped", "known gene, not in the vocabulary", "unknown"], [70, 20, 10])
    rules = np.where(np.arange(100) < 50, "Ensembl id", "symbol")
    return pd.DataFrame({
        "fate": fates, "rule": np.where(fates == "mapped", rules, ""),
        "token": np.where(fates == "mapped", np.arange(100) // 2, -1),
        "counts": np.arange(100, 0, -1),
    })  # fmt: skip


def effects() -> pd.DataFrame:
    """Tested perturbations, of which some are certain."""
    rng, n = np.random.default_rng(2), 150
    excess = rng.normal(0, 1, n)
    p_values = np.exp(-6 * excess**2 * rng.uniform(0.5, 1.5, n))
    table = pd.DataFrame({
        "ensembl_id": [f"ENSG{i:011d}" for i in range(n)], "symbol": [f"GENE{i}" for i in range(n)],
        "n_cells": rng.integers(5, 40, n), "effect": excess + 0.1, "excess": excess,
        "low": excess - 0.2, "high": excess + 0.2, "q_value": np.minimum(p_values * 20, 1),
    })  # fmt: skip
    return table.sort_values("q_value", kind="stable").reset_index(drop=True)


def pairs() -> pd.DataFrame:
    """Pairs of two groups of genes, the first ones the most certain."""
    rng = np.random.default_rng(3)
    rows = []
    for group in (range(6), range(6, 11)):
        names = [f"GENE{i}" for i in group]
        rows += [(a, b, rng.normal(0.6 if b > a else -0.4, 0.3)) for a in names for b in names
                 if a != b]  # fmt: skip
    table = pd.DataFrame(rows, columns=["source", "target", "excess"])
    table["effect"] = table["excess"].abs()
    return table.sample(frac=1, random_state=0).reset_index(drop=True)


def log() -> list[dict[str, Any]]:
    """What the Trainer logs of a short run."""
    entries: list[dict[str, Any]] = []
    for step in range(10, 201, 10):
        entries.append({"step": step, "loss": 5 / step**0.5 + 1, "learning_rate": 1e-4})
        if step % 50 == 0:
            entries.append({"step": step, "eval_loss": 5 / step**0.5 + 1.2, "eval_accuracy": 0.5})
    return entries


PICTURES: dict[str, Callable[[], Any]] = {
    "embedding-categories": lambda: pl.embedding(cells(), color="cell_type", show=False),
    "embedding-on-data": lambda: pl.embedding(
        cells(), color="cell_type", legend_loc="on data", title="on data", show=False
    ),
    "embedding-gene": lambda: pl.embedding(cells(), color="GENE4", show=False),
    "confusion": lambda: pl.confusion(
        cells(), true="cell_type", predicted="predicted", title="Predicted", show=False
    ),
    "gene-mapping": lambda: pl.gene_mapping(report(), counts=report()["counts"], show=False),
    "marker-genes": lambda: pl.marker_genes(cells(), groupby="cell_type", show=False),
    "volcano": lambda: pl.volcano(effects(), show=False),
    "ranked-effects": lambda: pl.ranked_effects(effects(), n_genes=12, show=False),
    "attention": lambda: pl.attention(pairs(), value="excess", n_genes=11, show=False),
    "gene-network": lambda: pl.gene_network(pairs(), n_edges=24, show=False),
    "training-curves": lambda: pl.training_curves({"log": log()}, show=False),
}


def draw(name: str) -> bytes:
    """A picture as PNG, with matplotlib's own settings and the font that comes with it."""
    with mpl.rc_context(mpl.rcParamsDefault):
        figure = PICTURES[name]().figure
        figure.draw_without_rendering()
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=_DPI, facecolor="white")
    return file.getvalue()
