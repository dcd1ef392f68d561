"""Compare settings of rankformer-mini on cells held out.

    python training/sweep.py --cells FOLDER --out training/results/sweep.json

Each setting differs from the first one in one thing or two and is trained for 150 steps. A fifth
of the cells are held out. On them: the loss of masked genes, and how well cells trained on name
their labels (neighbours, linear probe) and clusters tell them apart, the mean over pbmc3k, ifnb and
sc_mixology. Settings that were measured are not measured again. Some five minutes a setting on two
CPU cores.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import anndata
import numpy as np
import pandas as pd
import torch
from machine import describe_machine
from numpy.typing import NDArray
from rankformer_mini import FILES, RECIPE, SHAPE, make_vocabulary
from reporting import markdown_table, write_json
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rankformer
from rankformer import Checkpoint
from rankformer.pretraining.hyperparameters import PretrainingHyperparameters
from rankformer.pretraining.pretrain import draw_model, pretrain
from rankformer.pretraining.settings import PretrainingSettings
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.training.splits import hold_out_cells

N_STEPS = 150
SHORT = {
    "masked_share": 0.15, "max_steps": N_STEPS, "warmup_steps": 15, "save_steps": N_STEPS,
    "evaluate_steps": N_STEPS, "held_out_share": 0.2,
}  # fmt: skip
LABELS = {"pbmc3k": "cell_type", "ifnb": "cell_type", "sc_mixology": "cell_line"}
FIGURES = ("loss", "accuracy", "kNN macro-F1", "probe macro-F1", "NMI")


@dataclass(frozen=True)
class Setting:
    """What a model is trained with, where it differs from the first setting.

    That is rankformer-mini's before this comparison, with 15 % of the genes masked.
    """

    shape: dict[str, int] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    input_length: int = 512


SETTINGS = {
    "as it was": Setting(),
    "mlm alone": Setting(hyperparameters={"objective": "mlm"}),
    "4 layers": Setting(shape={"n_layers": 4}),
    "2 layers": Setting(shape={"n_layers": 2}),
    "width 160": Setting(shape={"d_model": 160, "d_ff": 320}),
    "views of 10 to 90 %": Setting(hyperparameters={"thinnest_view": 0.1}),
    "contrast 1.0": Setting(hyperparameters={"contrast_weight": 1.0}),
    "30 % masked": Setting(hyperparameters={"masked_share": 0.3}),
    "256 inputs": Setting(input_length=256),
    "another seed": Setting(hyperparameters={"seed": 1}),
    "1,024 inputs": Setting(input_length=1024),
    "30 % masked, contrast 1.0": Setting(
        hyperparameters={"masked_share": 0.3, "contrast_weight": 1.0}
    ),
}


def main() -> None:
    """Train and judge what is not in the JSON yet, then print the table."""
    options = parse_arguments()
    warnings.filterwarnings("ignore")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("rankformer").setLevel(logging.INFO)
    torch.set_num_threads(options.threads)
    report = json.loads(options.out.read_text()) if options.out.exists() else {"settings": {}}
    for name in options.only or SETTINGS:
        if name not in report["settings"]:
            figures = measure(SETTINGS[name], options.cells)
            report["settings"][name] = {**asdict(SETTINGS[name]), "figures": figures}
            write_json(options.out, {**report, "machine": describe_machine(), "steps": N_STEPS})
    print(show(report["settings"]))


def measure(setting: Setting, folder: Path) -> dict[str, float]:
    """Train a model of this setting and judge it."""
    sources = [folder / f"{name}.h5ad" for name in FILES]
    hyperparameters = replace(RECIPE, **{**SHORT, **setting.hyperparameters})
    with tempfile.TemporaryDirectory() as scratch:
        vocabulary = make_vocabulary(sources, Path(scratch) / "genes.parquet", setting.input_length)
        model = draw_model(vocabulary, {**SHAPE, **setting.shape}, hyperparameters.seed)
        checkpoint = pretrain(
            sources, Path(scratch) / "model", model, vocabulary,
            PretrainingSettings(
                hyperparameters, ReadingOptions(gene_ids="ensembl_id"), device="cpu"
            ),
        )  # fmt: skip
        return {**masked_genes(checkpoint), **judge(checkpoint, sources, hyperparameters)}


def masked_genes(checkpoint: Checkpoint) -> dict[str, float]:
    """Loss in nats and accuracy on cells held out, as the training itself measured them."""
    log = json.loads((checkpoint.folder / "training.json").read_text())["log"]
    last = next(entry for entry in reversed(log) if "eval_loss" in entry)
    return {"loss": last["eval_loss"], "accuracy": last["eval_accuracy"]}


def judge(
    checkpoint: Checkpoint, sources: list[Path], hyperparameters: PretrainingHyperparameters
) -> dict[str, float]:
    """How vectors of cells held out tell their labels: means over the labelled files."""
    files = [anndata.read_h5ad(path) for path in sources]
    rows = np.arange(sum(each.n_obs for each in files))
    _, held_out = hold_out_cells(rows, hyperparameters.held_out_share, hyperparameters.seed)
    is_held = np.split(np.isin(rows, held_out), np.cumsum([each.n_obs for each in files])[:-1])
    figures = [
        judge_labels(embed(adata, checkpoint), read_labels(adata, path.stem), held)
        for adata, path, held in zip(files, sources, is_held, strict=True)
        if path.stem in LABELS
    ]
    return pd.DataFrame(figures).mean().to_dict()


def read_labels(adata: anndata.AnnData, name: str) -> NDArray[np.str_]:
    """Labels of cells; empty where a cell has none, or is two cells."""
    labels = adata.obs[LABELS[name]].astype(str).to_numpy(object)
    labels[np.isin(labels, ("nan", "unassigned"))] = ""
    if "demuxlet_cls" in adata.obs:
        labels[adata.obs["demuxlet_cls"].to_numpy(object) != "SNG"] = ""
    return labels.astype(str)


def embed(adata: anndata.AnnData, checkpoint: Checkpoint) -> NDArray[np.float32]:
    """(n_cells, d_model) vectors."""
    embedded = rankformer.tl.embed(
        adata, model=checkpoint, gene_ids="ensembl_id", dtype="float32", copy=True
    )
    return embedded.obsm["X_geneformer"]


def judge_labels(
    vectors: NDArray[np.float32], labels: NDArray[np.str_], held: NDArray[np.bool_]
) -> dict[str, float]:
    """Of cells held out, with those trained on as what is known."""
    known, asked = (labels != "") & ~held, (labels != "") & held
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    figures = {
        name: f1_score(
            labels[asked],
            each.fit(vectors[known], labels[known]).predict(vectors[asked]),
            average="macro",
        )
        for name, each in (("kNN macro-F1", KNeighborsClassifier(10)), ("probe macro-F1", probe))
    }
    clusters = KMeans(len(np.unique(labels[asked])), n_init=10, random_state=0)
    found = clusters.fit_predict(vectors[asked])
    return {**figures, "NMI": normalized_mutual_info_score(labels[asked], found)}


def show(settings: dict[str, Any]) -> str:
    """A line a setting."""
    rows = [
        [name, *(f"{each['figures'][key]:.3f}" for key in FIGURES)]
        for name, each in settings.items()
    ]
    return markdown_table(("setting", *FIGURES), rows)


def parse_arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True, help="folder of the six files")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="settings to measure")
    return parser.parse_args()


if __name__ == "__main__":
    main()
