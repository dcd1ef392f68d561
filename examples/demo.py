"""The main job on real cells, with the model that ships: embed, UMAP, compare, report.

The 700 blood cells ship with rankformer (`rankformer.datasets`): counts of 765 genes, chosen as
highly variable. rankformer-mini has not seen them. With a published model, another name is all that
changes.
"""

import argparse
import logging
import os
import shlex
import sys
import warnings
from pathlib import Path

# Threads that wait busily hinder each other where other programs run beside.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import scanpy as sc
from anndata import AnnData
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

import rankformer

MODEL = "rankformer-mini"
LABEL = "cell_type"
SEED = 0


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
    _compare(adata)
    write_report(adata, options.output / "report.html")
    _tell_what_was_written(options.output, embedded)


def macro_f1(vectors: NDArray[np.floating], labels: NDArray[np.str_]) -> float:
    """How well the 10 nearest cells tell a cell's label: mean F1 over labels, 5 folds."""
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    found = cross_val_predict(KNeighborsClassifier(10), vectors, labels, cv=folds)
    return float(f1_score(labels, found, average="macro"))


def draw_umap(adata: AnnData, file: Path) -> None:
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    title = f"{adata.n_obs} blood cells, UMAP of {MODEL} embeddings"
    rankformer.pl.embedding(
        adata, color=LABEL, title=title, size=14, ax=figure.add_subplot(), save=file
    )


def write_report(adata: AnnData, file: Path) -> None:
    settings = rankformer.ReportSettings(labels=LABEL, title="700 blood cells")
    rankformer.write_report(adata, file, settings, overwrite=True)


def _compare(adata: AnnData) -> None:
    labels = adata.obs[LABEL].to_numpy(str)
    shares = adata.X.toarray() / adata.obs[["n_counts"]].to_numpy()
    components = PCA(50, random_state=SEED).fit_transform(np.log1p(shares * 10_000))
    print(f"""
Cell type by the 10 nearest cells, 5 folds   macro-F1
  {MODEL}, zero-shot                 {macro_f1(adata.obsm["X_geneformer"], labels):.2f}
  PCA (50) of the same genes                  {macro_f1(components, labels):.2f}

{MODEL} is for trying out, tests and teaching: it was trained on 12,800 cells.
For research take a published model: rankformer models.""")


def _tell_what_was_written(output: Path, embedded: Path) -> None:
    command = (
        "rankformer", "embed", str(embedded), "-o", str(output / "again.h5ad"), "--model", MODEL,
    )  # fmt: skip
    print(f"""
Written to {output}: umap.png; report.html, to be opened in a browser; and
{embedded.name}, which the examples of `rankformer COMMAND --help` read.
The same embeddings from the command line:
  {shlex.join(command)}""")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    return parser.parse_args()


def _quiet_other_libraries() -> None:
    sc.settings.verbosity = 0
    warnings.filterwarnings("ignore")
    sys.stdout.reconfigure(line_buffering=True)
    logging.basicConfig(format="  %(message)s", stream=sys.stdout)
    logging.getLogger("rankformer").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
