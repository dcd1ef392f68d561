"""What a small model learns by the published recipe, and by the one that is taken for it.

Each set is a file with a column of labels: FILE:LABEL, or FILE:LABEL:GROUP where groups such as
donors must not be torn. Of each set the same cells are trained on, and the same tested, by both
recipes and for each seed; the model is the one that ships. With --pretrain it is trained on to name
masked genes, without labels (FILE).
"""

import argparse
import json
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import mean
from unittest import mock

import anndata as ad
import numpy as np
from machine import describe_machine
from rankformer.pretrain import pretrain as pretraining
from reporting import markdown_table, write_json

import rankformer
from rankformer import (
    CellTask,
    FineTuningHyperparameters,
    FineTuningSettings,
    PretrainingHyperparameters,
    SplitPlan,
)

RECIPES = {
    "published": FineTuningHyperparameters(epochs=3, learning_rate=5e-5),
    "as fits": FineTuningHyperparameters(),
}
TOLD = ("epochs", "learning_rate", "warmup_steps")


def draw_cells(file: str, seed: int, n_cells: int) -> ad.AnnData:
    adata = ad.read_h5ad(file)
    rows = np.random.default_rng(seed).permutation(adata.n_obs)[:n_cells]
    return adata[np.sort(rows)].copy()


def measure_pretraining(job: str, seed: int, name: str, n_cells: int) -> dict[str, object]:
    """Train on some cells of a set, and name masked genes of those held out."""
    as_published = mock.patch.object(
        pretraining, "settle_pretraining",
        lambda hyperparameters, *_: replace(hyperparameters, epochs=3.0, warmup_steps=10_000),
    )  # fmt: skip
    file, *_ = job.split(":")
    hyperparameters = PretrainingHyperparameters(held_out_share=0.2, seed=seed)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if name == "published":
            stack.enter_context(as_published)
        output = Path(folder) / "model"
        cells = draw_cells(file, seed, n_cells)
        rankformer.pretrain(
            cells,
            output,
            "rankformer-mini",
            settings=rankformer.PretrainingSettings(hyperparameters, device="cpu"),
        )
        record = json.loads((output / "training.json").read_text())
    last = [each for each in record["log"] if "eval_loss" in each][-1]
    return {
        "set": Path(file).stem, "seed": seed, "recipe": name,
        **{key: record["hyperparameters"][key] for key in TOLD},
        "loss, nats": last["eval_loss"], "accuracy": last["eval_accuracy"],
    }  # fmt: skip


def measure_finetuning(job: str, seed: int, name: str, n_cells: int) -> dict[str, object]:
    """Train on some cells of a set, and score those that are tested."""
    file, label, *group = job.split(":")
    settings = FineTuningSettings(
        hyperparameters=replace(RECIPES[name], seed=seed),
        plan=SplitPlan(test_share=0.2, seed=seed),
        device="cpu",
    )  # fmt: skip
    task = CellTask((label,), group=group[0] if group else None)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "model"
        cells = draw_cells(file, seed, n_cells)
        rankformer.finetune(cells, output, "rankformer-mini", task, settings)
        scores = json.loads((output / "scores.json").read_text())["test"][label]
        hyperparameters = json.loads((output / "training.json").read_text())["hyperparameters"]
    return {
        "set": Path(file).stem, "seed": seed, "recipe": name,
        **{key: hyperparameters[key] for key in TOLD},
        "macro F1": scores["macro_f1"], "accuracy": scores["accuracy"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", metavar="FILE:LABEL[:GROUP]")
    parser.add_argument("--n-cells", type=int, default=1000, help="drawn of each set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pretrain", action="store_true", help="no labels: masked genes")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    measure = measure_pretraining if arguments.pretrain else measure_finetuning
    figure = "loss, nats" if arguments.pretrain else "macro F1"
    found = []
    for job in arguments.sets:
        for seed in range(arguments.seeds):
            for name in RECIPES:
                found.append(measure(job, seed, name, arguments.n_cells))
                write_json(arguments.out, {"machine": describe_machine(), "runs": found})
    header = tuple(found[0])
    print(markdown_table(header, [[_as_text(each[name]) for name in header] for each in found]))
    for name in RECIPES:
        scores = [float(str(each[figure])) for each in found if each["recipe"] == name]
        print(f"{name}: mean {figure} {mean(scores):.3f} over {len(scores)} runs")


def _as_text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
