"""Labels of pbmc3k transferred to ifnb: annotation and fine-tuning, beside two baselines.

`rankformer annotate` names the control cells and the stimulated cells of ifnb, each by themselves,
by the way that it takes (auto), and by neighbours in the embedding of rankformer-mini alone. Both
baselines get the same cells and the genes that both files have. HVG + PCA is fitted to reference
and query together, as label transfer by scanpy does; the 15 nearest cells vote, by cosine.
Logistic regression is fitted to log counts of the reference.
Fine-tuning learns the labels of the reference, a tenth of it held out for the temperature; it takes
over ten minutes of a CPU a seed, and is measured on the first two of five. A cell is unknown to
these three below a probability of 0.5, and to `rankformer annotate` by its own limit. Each seed
takes 80 % of the reference, stratified by label.

The six labels of ifnb are matched to those of pbmc3k by the table `SAME`. NK cells, dendritic cells
and megakaryocytes of pbmc3k stay in the reference; ifnb has none here, so that such a label is an
error. rankformer-mini has seen none of these cells in its pretraining.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scanpy as sc
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, spread, write_json
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

import rankformer
from finetuning import RECIPE
from rankformer import (
    CellTask,
    Checkpoint,
    Embedder,
    FineTuningSettings,
    ReadingOptions,
    SplitPlan,
)
from rankformer.annotate.cells import shared_genes_of

SAME = {
    "CD14 Mono": "CD14+ Monocytes",
    "CD16 Mono": "FCGR3A+ Monocytes",
    "CD4 Naive T": "CD4 T cells",
    "CD4 Memory T": "CD4 T cells",
    "CD8 T": "CD8 T cells",
    "B": "B cells",
}
SEEDS, SHARE, N_HVG, N_PCS, N_NEIGHBORS = range(5), 0.8, 2000, 50, 15
FINE_TUNED_SEEDS = range(2)
SURE = 0.5
NOT_SEEN = "rankformer-mini has not seen these cells in its pretraining."
CONDITIONS = ("CTRL", "STIM")
ANNOTATED = {"rankformer annotate": "auto", "rankformer-mini, neighbours": "neighbours"}
Texts = NDArray[np.str_]


def read_cells(folder: Path) -> tuple[ad.AnnData, ad.AnnData]:
    """Labelled cells of pbmc3k, and ifnb with labels in the words of pbmc3k; genes of both."""
    pbmc, ifnb = (ad.read_h5ad(folder / f"{name}.h5ad") for name in ("pbmc3k", "ifnb"))
    pbmc = pbmc[(pbmc.obs["cell_type"] != "unassigned").to_numpy()].copy()
    ifnb.obs["truth"] = ifnb.obs["cell_type"].map(SAME).astype(str)
    return pbmc, ifnb


def log_counts(pbmc: ad.AnnData, ifnb: ad.AnnData) -> tuple[ad.AnnData, ad.AnnData]:
    """Log-normalised counts of the genes whose Ensembl id both files have once."""
    named = []
    for each in (pbmc, ifnb):
        ids = each.var["ensembl_id"].astype(str)
        once = ~ids.duplicated(keep=False) & ids.str.startswith("ENSG")
        named.append(each[:, once.to_numpy()].copy())
        named[-1].var_names = ids[once]
    shared = named[0].var_names.intersection(named[1].var_names)
    both = [each[:, shared].copy() for each in named]
    for each in both:
        sc.pp.normalize_total(each, target_sum=1e4)
        sc.pp.log1p(each)
    return both[0], both[1]


def fit_pca(
    reference: ad.AnnData, query: ad.AnnData, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """HVG + PCA of both together; highly variable in both, genes scaled in each."""
    joint = ad.concat([reference, query], label="set", keys=["reference", "query"])
    joint.obs_names_make_unique()
    sc.pp.highly_variable_genes(joint, n_top_genes=N_HVG, batch_key="set")
    joint = joint[:, joint.var["highly_variable"]].copy()
    sc.pp.scale(joint, max_value=10)
    sc.pp.pca(joint, n_comps=N_PCS, random_state=seed)
    vectors = np.ascontiguousarray(joint.obsm["X_pca"], np.float32)
    return vectors[: reference.n_obs], vectors[reference.n_obs :]


def annotate(
    pbmc: ad.AnnData, ifnb: ad.AnnData, embedder: Embedder
) -> dict[str, dict[str, tuple[Texts, NDArray[np.bool_]]]]:
    """Condition → method → best labels and which cells are unknown."""
    only = shared_genes_of([pbmc], ifnb, embedder)
    reference = rankformer.build_reference(
        pbmc, embedder, "cell_type", options=ReadingOptions(only_genes=only)
    )
    found: dict[str, dict[str, tuple[Texts, NDArray[np.bool_]]]] = {}
    for condition in CONDITIONS:
        cells = ifnb[(ifnb.obs["stim"] == condition).to_numpy()].copy()
        for name, method in ANNOTATED.items():
            rankformer.tl.annotate(
                cells, reference=reference, model=embedder, method=method, key_added="told"
            )
            best = cells.obs["told_best"].to_numpy(str)
            unknown = (cells.obs["told"] == "unknown").to_numpy()
            found.setdefault(condition, {})[name] = best, unknown
    return found


def fine_tune(
    pbmc: ad.AnnData, ifnb: ad.AnnData, model: str, seed: int
) -> tuple[Texts, NDArray[np.bool_]]:
    """Best labels of all cells of ifnb, and which are unknown, of a model that learns pbmc's."""
    settings = FineTuningSettings(
        hyperparameters=replace(RECIPE, seed=seed), device="cpu",
        options=ReadingOptions(gene_ids="index"),
        plan=SplitPlan(validation_share=0.1, test_share=0.0, seed=seed),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        tuned = rankformer.finetune(
            [pbmc], Path(scratch) / "model", Checkpoint.open(model), CellTask(("cell_type",)),
            settings,
        )  # fmt: skip
        told = rankformer.tl.predict(
            ifnb, model=tuned, gene_ids="ensembl_id", threshold=SURE, copy=True
        )
    return (
        told.obs["predicted_cell_type"].to_numpy(str),
        told.obs["predicted_cell_type_uncertain"].to_numpy(bool),
    )


def score(truth: Texts, best: Texts, unknown: NDArray[np.bool_]) -> dict[str, float]:
    """All cells by their best label, and those alone that are not unknown."""
    known = ~unknown
    labels = np.unique(truth)
    figures = {
        "accuracy": float(np.mean(best == truth)),
        "macro-F1": float(f1_score(truth, best, labels=labels, average="macro", zero_division=0)),
        "unknown": float(unknown.mean()),
    }
    if known.any():
        figures["accuracy of the rest"] = float(np.mean(best[known] == truth[known]))
    return figures


def measure(folder: Path, model: str) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Condition → method → figure → one value a seed."""
    pbmc, ifnb = read_cells(folder)
    embedder = Embedder(Checkpoint.open(model), dtype="float32")
    logs = log_counts(pbmc, ifnb)
    labels = pbmc.obs["cell_type"].to_numpy(str)
    found: dict[str, dict[str, dict[str, list[float]]]] = {each: {} for each in CONDITIONS}
    for seed in SEEDS:
        rows, _ = train_test_split(
            np.arange(len(labels)), train_size=SHARE, stratify=labels, random_state=seed
        )
        reference = pbmc[np.sort(rows)].copy()
        annotated = annotate(reference, ifnb, embedder)
        tuned = fine_tune(reference, ifnb, model, seed) if seed in FINE_TUNED_SEEDS else None
        for condition, own in found.items():
            cells = (ifnb.obs["stim"] == condition).to_numpy()
            truth = ifnb.obs["truth"].to_numpy(str)[cells]
            results = {**annotated[condition], **baselines(rows, cells, labels, logs, seed)}
            if tuned is not None:
                results["rankformer-mini, fine-tuned"] = tuned[0][cells], tuned[1][cells]
            for name, result in results.items():
                for figure, value in score(truth, *result).items():
                    own.setdefault(name, {}).setdefault(figure, []).append(value)
    for condition, own in found.items():
        truth = ifnb.obs["truth"].to_numpy(str)[(ifnb.obs["stim"] == condition).to_numpy()]
        commonest = max(np.mean(truth == each) for each in np.unique(truth))
        own["the commonest label"] = {"accuracy": [float(commonest)]}
    return found


def baselines(
    rows: NDArray[np.int64],
    cells: NDArray[np.bool_],
    labels: Texts,
    logs: tuple[ad.AnnData, ad.AnnData],
    seed: int,
) -> dict[str, tuple[Texts, NDArray[np.bool_]]]:
    """Both on the same reference cells and the same query cells."""
    pca = fit_pca(logs[0][rows].copy(), logs[1][cells].copy(), seed)
    voting = KNeighborsClassifier(N_NEIGHBORS, metric="cosine").fit(pca[0], labels[rows])
    regression = LogisticRegression(C=0.1, max_iter=200).fit(logs[0].X[rows], labels[rows])
    return {
        "HVG + PCA, neighbours": name_cells(voting, pca[1]),
        "logistic regression, log counts": name_cells(regression, logs[1].X[cells]),
    }


def name_cells(classifier: Any, cells: Any) -> tuple[Texts, NDArray[np.bool_]]:
    """Best labels, and which cells are unknown."""
    sure = classifier.predict_proba(cells).max(axis=1)
    return classifier.predict(cells).astype(str), sure < SURE


def show(found: dict[str, Any]) -> str:
    """The table."""
    figures = ("accuracy", "macro-F1", "unknown", "accuracy of the rest")
    rows = [
        [condition, name, *(spread(own.get(figure, [])) for figure in figures)]
        for condition, methods in found.items()
        for name, own in methods.items()
    ]
    return markdown_table(("ifnb", "method", *figures), rows) + f"\n\n{NOT_SEEN}"


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="folder of pbmc3k and ifnb")
    parser.add_argument("--model", default="rankformer-mini", help="it, or a folder")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    found = measure(arguments.cells, arguments.model)
    report = {
        "machine": describe_machine(), "note": NOT_SEEN, "labels": SAME,
        "seeds": {"fine-tuning": len(FINE_TUNED_SEEDS), "others": len(SEEDS)},
        "share_of_reference": SHARE, "figures": found,
    }  # fmt: skip
    write_json(arguments.out, report)
    print(show(found))


if __name__ == "__main__":
    main()
