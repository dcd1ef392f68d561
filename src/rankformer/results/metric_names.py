"""What figures are called where a person reads them."""

from collections.abc import Mapping
from typing import Any

EMBEDDING_FIGURES: Mapping[str, str] = {
    "knn_macro_f1": "kNN macro-F1",
    "linear_macro_f1": "linear probe macro-F1",
    "ari": "ARI of clusters",
    "nmi": "NMI of clusters",
    "silhouette_label": "silhouette of labels",
    "silhouette_batch": "silhouette of batches",
    "batch_mixing": "batch mixing",
    "ilisi_scib": "iLISI (scib-metrics)",
    "kbet_scib": "kBET (scib-metrics)",
}
CLASSIFIER_FIGURES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "roc_auc": "ROC AUC",
    "calibration_error": "calibration error ↓",
    "log_loss": "log loss ↓",
    "certain_share": "share that is certain",
    "certain_accuracy": "accuracy of certain",
    "certain_macro_f1": "macro-F1 of certain",
}
_TRAINING_FIGURES: Mapping[str, str] = {
    **{key: CLASSIFIER_FIGURES[key] for key in ("accuracy", "macro_f1")},
    "log_loss": "log loss", "auc": "AUC", "r2": "R²", "mae": "mean absolute error",
    "spearman": "Spearman's correlation",
}  # fmt: skip
# Those on a scale from 0 to 1 of which more is better: a picture can show them side by side.
DRAWN = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "certain_share",
         "certain_accuracy", "certain_macro_f1")  # fmt: skip


def spoken_name(figure: str) -> str:
    """What a figure is called, ``macro_f1`` or, of one label among several, ``LABEL_macro_f1``."""
    for key, name in _TRAINING_FIGURES.items():
        if figure == key or figure.endswith(f"_{key}"):
            return f"{figure.removesuffix(key).removesuffix('_')} {name}".lstrip()
    return figure


def in_order(figures: Any, names: Mapping[str, str]) -> list[str]:
    """The figures that there are, in the order of their names."""
    there = set(figures)
    return [each for each in names if each in there]
