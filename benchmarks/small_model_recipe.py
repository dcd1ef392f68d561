"""What a small model learns by the published recipe, and by the one that is taken for it.

Each set is a file with a column of labels: FILE:LABEL, or FILE:LABEL:GROUP where groups such as
donors must not be torn. Of each set the same cells are trained on, and the same tested, by both
recipes and for each seed; the model is the one that ships.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean

import anndata as ad
import numpy as np
from machine import describe_machine
from reporting import markdown_table, write_json

import rankformer
from rankformer import CellTask, FineTuningRecipe, FineTuningSettings, SplitPlan

RECIPES = {
    "published": FineTuningRecipe(epochs=3, learning_rate=5e-5),
    "as fits": FineTuningRecipe(),
}
HEADER = ("set", "seed", "recipe", "epochs", "peak rate", "macro F1", "accuracy")


def measure(job: str, seed: int, name: str, n_cells: int) -> dict[str, object]:
    """Train on some cells of a set, and score those that are tested."""
    file, label, *group = job.split(":")
    adata = ad.read_h5ad(file)
    rows = np.random.default_rng(seed).permutation(adata.n_obs)[:n_cells]
    settings = FineTuningSettings(
        recipe=replace(RECIPES[name], seed=seed), plan=SplitPlan(test_share=0.2, seed=seed),
        device="cpu",
    )  # fmt: skip
    task = CellTask((label,), group=group[0] if group else None)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "model"
        rankformer.finetune(adata[np.sort(rows)].copy(), output, "rankformer-mini", task, settings)
        scores = json.loads((output / "scores.json").read_text())["test"][label]
        recipe = json.loads((output / "training.json").read_text())["recipe"]
    return {
        "set": Path(file).stem, "seed": seed, "recipe": name, "epochs": recipe["epochs"],
        "peak rate": recipe["learning_rate"], "macro F1": scores["macro_f1"],
        "accuracy": scores["accuracy"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", metavar="FILE:LABEL[:GROUP]")
    parser.add_argument("--n-cells", type=int, default=1000, help="drawn of each set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    found = []
    for job in arguments.sets:
        for seed in range(arguments.seeds):
            for name in RECIPES:
                found.append(measure(job, seed, name, arguments.n_cells))
                write_json(arguments.out, {"machine": describe_machine(), "runs": found})
    print(markdown_table(HEADER, [[str(each[name]) for name in HEADER] for each in found]))
    for name in RECIPES:
        scores = [float(str(each["macro F1"])) for each in found if each["recipe"] == name]
        print(f"{name}: mean macro F1 {mean(scores):.3f} over {len(scores)} runs")


if __name__ == "__main__":
    main()
