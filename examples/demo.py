"""The main job on real cells, with the model that ships: embed, neighbours, UMAP, compare.

The 700 blood cells ship with rankformer (`rankformer.datasets`): counts of 765 genes, chosen as
highly variable. rankformer-mini has not seen them. With a published model, another name is all that
changes.
"""

import argparse
import itertools
import logging
import os
import shlex
import sys
import warnings
from pathlib import Path

# Threads that wait busily hinder each other where other programs run beside.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import matplotlib as mpl
import numpy as np
import scanpy as sc
from anndata import AnnData
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

import rankformer

MODEL = "rankformer-mini"
LABEL = "cell_type"
SEED = 0
# Paul Tol's "muted" colours, which colour-blind readers tell apart, and black.
PALETTE = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip


def main() -> None:
    options = _parse_arguments()
    _quiet_other_libraries()
    options.output.mkdir(parents=True, exist_ok=True)
    adata = rankformer.datasets.blood_cells()
    print(f"{adata.n_obs} blood cells that {MODEL} has not seen.")
    rankformer.tl.embed(adata, model=MODEL)
    sc.pp.neighbors(adata, use_rep="X_geneformer", random_state=SEED)
    sc.tl.umap(adata, random_state=SEED)
    draw_umap(adata, options.output / "umap.png")
    embedded = options.output / "blood.h5ad"
    adata.write_h5ad(embedded)
    recover_counts(adata).write_h5ad(options.output / "blood.h5ad")
    _report(adata)
    _tell_what_was_written(options.output, embedded)


def recover_counts(adata: AnnData) -> AnnData:
    """The same cells with the counts of `raw`: the smallest value of a cell is a count of one."""
    scaled = adata.raw.X.copy()
    np.expm1(scaled.data, out=scaled.data)
    for start, end in itertools.pairwise(scaled.indptr):
        scaled.data[start:end] /= scaled.data[start:end].min()
    scaled.data.round(out=scaled.data)
    counts = AnnData(scaled, obs=adata.obs[[LABEL]], var=adata.raw.var[[]])
    for key in ("X_geneformer", "X_umap"):
        counts.obsm[key] = adata.obsm[key]
    return counts


def macro_f1(vectors: NDArray[np.floating], labels: NDArray[np.str_]) -> float:
    """How well the 10 nearest cells tell a cell's label: mean F1 over labels, 5 folds."""
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    found = cross_val_predict(KNeighborsClassifier(10), vectors, labels, cv=folds)
    return float(f1_score(labels, found, average="macro"))


def draw_umap(adata: AnnData, file: Path) -> None:
    from matplotlib import pyplot as plt

    sizes = adata.obs[LABEL].value_counts()
    figure, axes = plt.subplots(figsize=(8.2, 5.2), layout="constrained")
    for (name, size), colour in zip(sizes.items(), PALETTE, strict=True):
        x, y = adata.obsm["X_umap"][adata.obs[LABEL] == name].T
        axes.scatter(x, y, s=14, color=colour, linewidths=0, alpha=0.9, label=f"{name} ({size})")
    axes.set_title(f"{adata.n_obs} blood cells, UMAP of {MODEL} embeddings", loc="left")
    axes.set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        title="Cell type (cells)", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False,
        markerscale=2, alignment="left",
    )  # fmt: skip
    figure.savefig(file, dpi=200)
    plt.close(figure)


def _report(adata: AnnData) -> None:
    labels = adata.obs[LABEL].to_numpy(str)
    shares = adata.X.toarray() / adata.obs[["n_counts"]].to_numpy()
    components = PCA(50, random_state=SEED).fit_transform(np.log1p(shares * 10_000))
    print(f"""
Cell type by the 10 nearest cells, 5 folds   macro-F1
  {MODEL}, zero-shot                 {macro_f1(adata.obsm["X_geneformer"], labels):.2f}
  PCA (50) of the same genes                  {macro_f1(components, labels):.2f}

{MODEL} is for trying out, tests and teaching: it was trained on 8,800 cells.
For research take a published model: rankformer models.""")


def _tell_what_was_written(output: Path, embedded: Path) -> None:
    command = (
        "rankformer", "embed", str(embedded), "-o", str(output / "again.h5ad"), "--model", MODEL,
    )  # fmt: skip
    print(f"""
Written to {output}: umap.png and {embedded.name}, and blood.h5ad, which
holds the counts of the same cells: the examples of `rankformer COMMAND --help` read it.
The same embeddings from the command line:
  {shlex.join(command)}""")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    return parser.parse_args()


def _quiet_other_libraries() -> None:
    mpl.use("Agg")
    sc.settings.verbosity = 0
    warnings.filterwarnings("ignore")
    sys.stdout.reconfigure(line_buffering=True)
    logging.basicConfig(format="  %(message)s", stream=sys.stdout)
    logging.getLogger("rankformer").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
