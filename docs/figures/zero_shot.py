"""Labels of another laboratory: the model as it is, fine-tuned, and what needs no model."""

import json
from pathlib import Path

import numpy as np
from drawing import GREY, INDIGO, ROSE, canvas, write
from matplotlib.figure import Figure

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "annotation.json"
METHODS = {
    "rankformer annotate": "rankformer annotate, by itself",
    "rankformer-mini, neighbours": "rankformer-mini as it is (zero-shot)",
    "rankformer-mini, fine-tuned": "rankformer-mini, fine-tuned",
    "HVG + PCA, neighbours": "HVG + PCA, neighbours",
    "logistic regression, log counts": "logistic regression on log counts",
}
QUERIES = {"CTRL": "Control cells", "STIM": "Stimulated cells"}


def draw() -> Figure:
    """A dot for each run, and their median; one panel for each query."""
    figures = json.loads(RESULTS.read_text())["figures"]
    figure, axes = canvas(9.2, 2.9)
    for panel, (query, title) in enumerate(QUERIES.items()):
        left, width = 3.05 + panel * 3.1, 2.7
        write(axes, left, 2.65, title, fontsize=11, weight="bold")
        for tick in (0.4, 0.6, 0.8, 1.0):
            x = left + width * (tick - 0.4) / 0.6
            axes.plot([x, x], [0.75, 2.4], color="#DDDDDD", linewidth=0.8, zorder=0)
            write(axes, x, 0.6, f"{tick:.1f}", ha="center", fontsize=8, color=GREY)
        for row, method in enumerate(METHODS):
            values = np.array(figures[query][method]["accuracy"])
            x = left + width * (values - 0.4) / 0.6
            y = 2.25 - 0.36 * row
            colour = INDIGO if "rankformer" in method else ROSE
            axes.scatter(x, np.full(len(x), y), s=22, color=colour, alpha=0.35, linewidths=0)
            axes.scatter(np.median(x), y, s=46, color=colour, linewidths=0)
    for row, name in enumerate(METHODS.values()):
        write(axes, 0.15, 2.25 - 0.36 * row, name)
    write(
        axes, 0.15, 0.22,
        "Accuracy: labels of pbmc3k go over to ifnb. Small dots: runs with 80 % of the "
        "reference, five,\nor two of fine-tuning; large dots: their medians "
        "(benchmarks/annotation.py).",
        fontsize=8.5, color=GREY,
    )  # fmt: skip
    return figure
