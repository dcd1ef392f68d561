"""From real blood cells to Geneformer embeddings and a UMAP: offline, in less than two minutes.

The model is a toy, trained for a minute on these same 700 cells: it shows the workflow, not
biology. With a published checkpoint, only `rankformer.tl.embed` and what follows it are needed.
"""

import argparse
import logging
import os
import shlex
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

# Threads that wait busily hinder each other where other programs run beside.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import matplotlib as mpl
import numpy as np
import scanpy as sc
import torch
from anndata import AnnData
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from toy_pretraining import MaskedCells, draw_model, train
from transformers.utils import logging as transformers_logging

import rankformer

LABEL = "bulk_labels"
SPECIAL_TOKENS = ("<pad>", "<mask>", "<cls>", "<eos>")
INPUT_LENGTH = 128
N_HELD_OUT = 70
SEED = 0
# Paul Tol's "muted" colours, which colour-blind readers tell apart, and black.
PALETTE = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000",
)  # fmt: skip


def main() -> None:
    options = _parse_arguments()
    _silence_other_libraries()
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)

    adata = sc.datasets.pbmc68k_reduced()
    vocabulary = build_vocabulary(adata)
    print(
        f"{adata.n_obs} blood cells; a vocabulary of {len(vocabulary.tokens)} genes made of them."
    )
    model = draw_model(vocabulary, SEED)
    random_vectors = embed_with_random_weights(adata, model, vocabulary)

    tokens = np.array([vocabulary.token_of[gene] for gene in adata.raw.var_names], np.int32)
    batches = MaskedCells(recover_counts(adata), tokens, vocabulary, SEED)
    held_out, training = np.split(
        np.random.default_rng(SEED).permutation(adata.n_obs), [N_HELD_OUT]
    )
    before = batches.score(model, held_out)
    print(f"Training a toy model on {len(training)} of these cells, without their labels:")
    began = time.monotonic()
    train(model, batches, training, options.steps)
    print(f"  done in {time.monotonic() - began:.0f} s.")
    after = batches.score(model, held_out)

    folder = options.output / "model"
    shutil.rmtree(folder, ignore_errors=True)
    rankformer.save_checkpoint(folder, model, vocabulary)
    logging.getLogger("rankformer").setLevel(logging.INFO)
    rankformer.tl.embed(adata, model=folder, use_raw=True, undo_log1p=True)
    sc.pp.neighbors(adata, use_rep="X_geneformer", random_state=SEED)
    sc.tl.umap(adata, random_state=SEED)
    draw_umap(adata, options.output / "umap.png")
    embedded = options.output / "pbmc68k_embedded.h5ad"
    adata.write_h5ad(embedded)
    report(adata, random_vectors, before, after)
    _tell_what_was_written(options.output, folder, embedded)


def build_vocabulary(adata: AnnData) -> rankformer.Vocabulary:
    """The genes of these cells, with their non-zero medians; symbols stand for Ensembl ids."""
    values = np.expm1(adata.raw.X.toarray().astype(np.float64))
    medians = {
        gene: float(np.median(column[column > 0]))
        for gene, column in zip(adata.raw.var_names, values.T, strict=True)
    }
    return rankformer.Vocabulary.from_tables(
        {name: token for token, name in enumerate([*SPECIAL_TOKENS, *medians])},
        medians,
        symbols={gene: gene for gene in medians},
        input_length=INPUT_LENGTH,
        name="pbmc68k_reduced",
    )


def recover_counts(adata: AnnData) -> NDArray[np.int64]:
    """Molecules: each cell's smallest value, without the logarithm, is one molecule."""
    values = np.expm1(adata.raw.X.toarray().astype(np.float64))
    one_molecule = np.where(values > 0, values, np.inf).min(axis=1, keepdims=True)
    return np.rint(values / one_molecule).astype(np.int64)


def embed_with_random_weights(
    adata: AnnData, model: rankformer.MaskedLanguageModel, vocabulary: rankformer.Vocabulary
) -> NDArray[np.float32]:
    """A baseline to compare with; no result, so nothing of it is kept in the output."""
    with tempfile.TemporaryDirectory() as folder:
        random = rankformer.save_checkpoint(Path(folder) / "random", model, vocabulary)
        found = rankformer.tl.embed(adata, model=random, use_raw=True, undo_log1p=True, copy=True)
    return found.obsm["X_geneformer"]


def macro_f1(vectors: NDArray[np.floating], labels: NDArray[np.str_]) -> float:
    """How well the 5 nearest cells tell a cell's label: mean F1 over labels, 5 folds."""
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    found = cross_val_predict(KNeighborsClassifier(5), vectors, labels, cv=folds)
    return float(f1_score(labels, found, average="macro"))


def report(
    adata: AnnData,
    random_vectors: NDArray[np.float32],
    before: tuple[float, float],
    after: tuple[float, float],
) -> None:
    labels = adata.obs[LABEL].to_numpy(str)
    components = PCA(50, random_state=SEED).fit_transform(adata.raw.X.toarray())
    print(f"""
Masked genes in {N_HELD_OUT} cells kept out of training   loss    accuracy
  before training                            {before[0]:5.2f}    {before[1]:6.1%}
  after                                      {after[0]:5.2f}    {after[1]:6.1%}

Cell type by the 5 nearest cells, 5 folds    macro-F1
  random weights, same shape (baseline)       {macro_f1(random_vectors, labels):.2f}
  toy model                                   {macro_f1(adata.obsm["X_geneformer"], labels):.2f}
  PCA (50) of the same genes (baseline)       {macro_f1(components, labels):.2f}

A toy model trained for a minute on these same {adata.n_obs} cells:
it shows the workflow, not biology.""")


def draw_umap(adata: AnnData, file: Path) -> None:
    from matplotlib import pyplot as plt

    sizes = adata.obs[LABEL].value_counts()
    figure, axes = plt.subplots(figsize=(8.2, 5.2), layout="constrained")
    for (name, size), colour in zip(sizes.items(), PALETTE, strict=True):
        x, y = adata.obsm["X_umap"][adata.obs[LABEL] == name].T
        axes.scatter(x, y, s=14, color=colour, linewidths=0, alpha=0.9, label=f"{name} ({size})")
    axes.set_title(f"{adata.n_obs} blood cells, UMAP of toy Geneformer embeddings", loc="left")
    axes.set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        title="Cell type (cells)", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False,
        markerscale=2, alignment="left",
    )  # fmt: skip
    figure.supxlabel(
        "Model trained for a minute on these same cells: shows the workflow, not biology.",
        fontsize="small", color="0.35",
    )  # fmt: skip
    figure.savefig(file, dpi=200)
    plt.close(figure)


def _tell_what_was_written(output: Path, folder: Path, embedded: Path) -> None:
    command = (
        "rankformer", "embed", str(embedded), "-o", str(output / "again.h5ad"),
        "--model", str(folder), "--use-raw", "--undo-log1p",
    )  # fmt: skip
    print(f"""
Written to {output}: umap.png, {embedded.name} and the checkpoint {folder.name}/
The same embeddings from the command line:
  {shlex.join(command)}""")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    parser.add_argument("--steps", type=int, default=160, help="steps of training")
    parser.add_argument("--threads", type=int, default=min(os.cpu_count() or 1, 4))
    return parser.parse_args()


def _silence_other_libraries() -> None:
    mpl.use("Agg")
    sc.settings.verbosity = 0
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    sys.stdout.reconfigure(line_buffering=True)
    logging.basicConfig(format="  %(message)s", stream=sys.stdout)


if __name__ == "__main__":
    main()
