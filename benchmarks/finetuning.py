"""Fine-tuned models beside what costs less: probes, neighbours, and regressions on log counts.

    python benchmarks/finetuning.py --cells FOLDER --genesets FOLDER --out results/finetuning.json

cell lines: sc_mixology, trained on four batches and tested on the fifth, all five turns.
gene sets: classes of genes by 5 folds of genes, beside a regression on the genes' expression.
two labels: cell line and protocol learned at once, beside each alone, on the same split.
depth: the logarithm of a cell's molecules, which ranks do not hold, beside ridge on log counts.

rankformer-mini has seen none of these cells in its pretraining. What was measured is kept in the
JSON and not measured again, so a run that was ended goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import torch
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, write_json
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import f1_score, r2_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rankformer
from rankformer import (
    CellTask,
    Checkpoint,
    FineTunedModel,
    FineTuningHyperparameters,
    FineTuningSettings,
    GeneTask,
    ReadingOptions,
    SplitPlan,
)

MODEL = "rankformer-mini"
RECIPE = FineTuningHyperparameters(
    epochs=2, learning_rate=1e-3, warmup_steps=20, batch_size=16, label_smoothing=0.05,
    weight_decay=0.01, log_steps=50,
)  # fmt: skip
GENE_RECIPE = replace(RECIPE, epochs=1, class_weights=True)
GENE_FILES = ("pbmc3k", "ifnb", "sc_mixology", "pbmc_1k_v2")
GENE_CELLS = 100
SHARE = "predicted_class_probability_yes"
Figures = dict[str, float]


def settings_of(
    seed: int, hyperparameters: FineTuningHyperparameters, **plan: Any
) -> FineTuningSettings:
    return FineTuningSettings(
        hyperparameters=replace(hyperparameters, seed=seed), plan=SplitPlan(seed=seed, **plan),
        device="cpu",
        options=ReadingOptions(gene_ids="ensembl_id"),
    )  # fmt: skip


def log_counts(adata: ad.AnnData, train: NDArray[np.bool_]) -> NDArray[np.float32]:
    """log1p of counts scaled to 10,000, of the 2,000 genes most variable in cells trained on."""
    scaled = adata.copy()
    sc.pp.normalize_total(scaled, target_sum=1e4)
    sc.pp.log1p(scaled)
    genes = sc.pp.highly_variable_genes(scaled[train], n_top_genes=2000, inplace=False)
    return np.asarray(scaled[:, genes["highly_variable"].to_numpy()].X.toarray(), np.float32)


def probe() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))


def embed(adata: ad.AnnData) -> NDArray[np.float32]:
    embedded = rankformer.tl.embed(
        adata, model=MODEL, gene_ids="ensembl_id", dtype="float32", copy=True
    )
    return embedded.obsm["X_geneformer"]


def cell_lines(folders: argparse.Namespace, seed: int) -> Figures:
    """Macro-F1 over all cells, each tested by the model that has not seen its batch."""
    adata = read_mixology(folders)
    lines, batches = (adata.obs[name].to_numpy(str) for name in ("cell_line", "batch"))
    found = {"fine-tuned": test_by_batch(adata, "cell_line", seed)}
    vectors = embed(adata)
    ways: dict[str, tuple[Any, Callable[[NDArray[np.bool_]], NDArray[np.float32]]]] = {
        "linear probe": (probe(), lambda _: vectors),
        "kNN": (KNeighborsClassifier(10), lambda _: vectors),
        "logistic regression, log counts": (probe(), lambda train: log_counts(adata, train)),
    }
    for name, (model, features) in ways.items():
        named = np.empty(len(lines), dtype=object)
        for batch in np.unique(batches):
            train = batches != batch
            values = features(train)
            named[~train] = model.fit(values[train], lines[train]).predict(values[~train])
        found[name] = named
    return {name: f1_score(lines, named, average="macro") for name, named in found.items()}


def test_by_batch(adata: ad.AnnData, label: str, seed: int) -> NDArray[np.object_]:
    """What the model says of each cell that was fine-tuned on the other batches."""
    task = CellTask((label,), group="batch")
    with tempfile.TemporaryDirectory() as scratch:
        models = rankformer.cross_validate(
            [adata], Path(scratch) / "models", Checkpoint.open(MODEL), task,
            settings_of(seed, RECIPE, n_folds=5),
        )  # fmt: skip
        tested = pd.concat(map(read_tested, models)).set_index("cell")
    return tested.loc[adata.obs_names, f"predicted_{label}"].to_numpy(object)


def read_tested(model: FineTunedModel) -> pd.DataFrame:
    return pd.read_parquet(model.checkpoint.folder / "predictions.parquet").query("part == 'test'")


def gene_sets(folders: argparse.Namespace, seed: int) -> Figures:
    """Mean AUC of the folds of each set, in which genes are tested whose class was not seen."""
    adata = read_gene_cells(folders, seed)
    found: Figures = {}
    for name, table in read_gene_sets(folders.genesets):
        with tempfile.TemporaryDirectory() as scratch:
            models = rankformer.cross_validate(
                [adata], Path(scratch) / "models", Checkpoint.open(MODEL),
                GeneTask(table, "gene", "class"), settings_of(seed, GENE_RECIPE, n_folds=5),
            )  # fmt: skip
            splits = [pd.read_parquet(m.checkpoint.folder / "split.parquet") for m in models]
            tested = [read_tested(model).dropna(subset=SHARE) for model in models]
        found[f"{name}: genes"] = float(sum(map(len, tested)))
        folds = [auc(each["true_class"], each[SHARE]) for each in tested]
        found[f"{name}: fine-tuned"] = float(np.nanmean(folds))
        genes = {gene for each in tested for gene in each["gene"]}
        folds = [auc(*each) for each in expression_baseline(adata, table, splits, genes)]
        found[f"{name}: regression, expression"] = float(np.nanmean(folds))
    return found


def auc(truth: pd.Series[Any], share: Any) -> float:
    """NaN where a fold has genes of one class alone."""
    if truth.nunique() < 2:
        return float("nan")
    return float(roc_auc_score(truth == "yes", share))


def expression_baseline(
    adata: ad.AnnData, table: pd.DataFrame, splits: list[pd.DataFrame], tested: set[str]
) -> Iterator[tuple[pd.Series[Any], NDArray[np.float64]]]:
    """Logistic regression on 30 components of the genes' log expression in the same cells.

    For each fold the classes of the genes tested, and their probability.
    """
    scaled = sc.pp.log1p(sc.pp.normalize_total(adata, target_sum=1e4, copy=True), copy=True)
    classes = table.set_index("gene")["class"]
    for split in splits:
        parts = split.set_index("gene")["part"]
        genes = [each for each in parts.index if each in scaled.var_names]
        values = np.asarray(scaled[:, genes].X.toarray()).T
        components = PCA(min(30, len(genes) - 1), random_state=0).fit_transform(values)
        is_test = (parts[genes] == "test").to_numpy() & np.array([g in tested for g in genes])
        is_train = (parts[genes] != "test").to_numpy()
        model = probe().fit(components[is_train], classes[genes][is_train] == "yes")
        yield classes[genes][is_test], model.predict_proba(components[is_test])[:, 1]


def two_labels(folders: argparse.Namespace, seed: int) -> Figures:
    """Macro-F1 on the test part of cell line and kind of depth, at once and each alone."""
    adata = read_mixology(folders)
    labels = ("cell_line", "protocol")
    tasks = {"at once": CellTask(labels, group=None)}
    tasks |= {f"{label} alone": CellTask((label,)) for label in labels}
    found: Figures = {}
    for name, task in tasks.items():
        with tempfile.TemporaryDirectory() as scratch:
            model = rankformer.finetune(
                [adata], Path(scratch) / "model", Checkpoint.open(MODEL), task,
                settings_of(seed, RECIPE, test_share=0.3),
            )  # fmt: skip
            scores = json.loads((model.checkpoint.folder / "scores.json").read_text())["test"]
        found |= {f"{label}, {name}": each["macro_f1"] for label, each in scores.items()}
    return found


def depth(folders: argparse.Namespace, seed: int) -> Figures:
    """R² of log10 molecules of pbmc3k on the test part."""
    adata = ad.read_h5ad(folders.cells / "pbmc3k.h5ad")
    adata.obs["log_counts"] = np.log10(np.asarray(adata.X.sum(axis=1)).ravel())
    with tempfile.TemporaryDirectory() as scratch:
        model = rankformer.finetune(
            [adata], Path(scratch) / "model", Checkpoint.open(MODEL),
            CellTask(numbers=("log_counts",)),
            settings_of(seed, replace(RECIPE, label_smoothing=0.0), test_share=0.3),
        )  # fmt: skip
        tested = read_tested(model)
        parts = pd.read_parquet(model.checkpoint.folder / "split.parquet")["part"].to_numpy()
    truth, train = adata.obs["log_counts"].to_numpy(), parts != "test"
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11)))
    found = {"fine-tuned": r2_score(tested["true_log_counts"], tested["predicted_log_counts"])}
    for name, values in (
        ("ridge, log counts", log_counts(adata, train)),
        ("ridge, embeddings", embed(adata)),
    ):
        model = ridge.fit(values[train], truth[train])
        found[name] = r2_score(truth[~train], model.predict(values[~train]))
    return found


def read_mixology(folders: argparse.Namespace) -> ad.AnnData:
    adata = ad.read_h5ad(folders.cells / "sc_mixology.h5ad")
    return adata[adata.obs["demuxlet_cls"] == "SNG"].copy()


def read_gene_cells(folders: argparse.Namespace, seed: int) -> ad.AnnData:
    """Some cells of each file, drawn anew with each seed, so that more genes are among the inputs.

    A gene that a file lacks counts as 0 there.
    """
    rng, parts = np.random.default_rng(seed), []
    for name in GENE_FILES:
        adata = ad.read_h5ad(folders.cells / f"{name}.h5ad")
        adata.var_names = adata.var["ensembl_id"].astype(str)
        once = ~adata.var_names.duplicated() & adata.var_names.str.startswith("ENSG")
        rows = np.sort(rng.permutation(adata.n_obs)[:GENE_CELLS])
        parts.append(adata[rows, once].copy())
    joined = ad.concat(parts, join="outer", fill_value=0, keys=GENE_FILES, index_unique=" ")
    joined.var["ensembl_id"] = joined.var_names
    return joined


def read_gene_sets(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and table of ``gene`` and ``class``, yes or no."""
    dosage = pd.read_csv(folder / "dosage_sens_tf_labels.csv")
    yield "dosage-sensitive", as_table(dosage["ensembl_id"], dosage["dosage_sensitive"] == "Yes")
    bivalent = pd.read_csv(folder / "is_bivalent.csv")
    yield "bivalent", as_table(bivalent["tf"], bivalent["H3K27me3"])
    ranges = pd.read_csv(folder / "is_longrange_tf.csv")
    yield "long-range", as_table(ranges["ensembl_id"], ranges["is_longrange"])


def as_table(genes: pd.Series[Any], is_so: pd.Series[Any]) -> pd.DataFrame:
    return pd.DataFrame({"gene": genes, "class": np.where(is_so.astype(bool), "yes", "no")})


EXPERIMENTS: dict[str, Callable[[argparse.Namespace, int], Figures]] = {
    "cell lines": cell_lines,
    "gene sets": gene_sets,
    "two labels": two_labels,
    "depth": depth,
}


def show(found: dict[str, dict[str, Figures]]) -> str:
    """A table an experiment: mean and standard deviation over the seeds."""
    tables = []
    for experiment, seeds in found.items():
        figures = pd.DataFrame(seeds).T
        rows = [
            [name, f"{column.mean():.3f} ± {column.std(ddof=0):.3f}"]
            for name, column in figures.items()
        ]
        tables.append(markdown_table((experiment, f"mean ± sd of {len(seeds)} seeds"), rows))
    return "\n\n".join(tables)


def main() -> None:
    """Measure what is not in the JSON yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True, help="folder of sc_mixology, pbmc3k")
    parser.add_argument("--genesets", type=Path, required=True, help="folder of the three tables")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.basicConfig(format="%(message)s", level=logging.ERROR)
    torch.set_num_threads(arguments.threads)
    report = {"figures": {}}
    if arguments.out.exists():
        report = json.loads(arguments.out.read_text())
    for seed in range(arguments.seeds):
        for name in arguments.only:
            own = report["figures"].setdefault(name, {})
            if str(seed) not in own:
                own[str(seed)] = EXPERIMENTS[name](arguments, seed)
                print(f"{name}, seed {seed}: {own[str(seed)]}", flush=True)
                write_json(arguments.out, {**report, "machine": describe_machine()})
    print(show(report["figures"]))


if __name__ == "__main__":
    main()
