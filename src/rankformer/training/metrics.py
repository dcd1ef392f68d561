"""How good predictions are, and how sure they may be."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities, (n, n_classes) float64, of logits over a temperature."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """The temperature with which probabilities have the least log loss on held-out units.

    Guo et al., ICML 2017. As Platt's targets do, each label gives a share of 1 / (n + 2) to all
    classes alike, so that a few units that are all right make no certainty of all others.

    Parameters
    ----------
    logits
        (n, n_classes) of units that were not trained on.
    truth
        (n,) indices of their classes.
    """
    from scipy.optimize import minimize_scalar

    spread = 1 / (len(truth) + 2)

    def log_loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        own = scaled[np.arange(len(truth)), truth]
        target = (1 - spread) * own + spread * scaled.mean(axis=1)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - target))

    found = minimize_scalar(log_loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def score_classes(
    probabilities: NDArray[np.floating], truth: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, float]:
    """Accuracy, macro-F1 over the classes that are there, log loss; of two, AUC.

    Parameters
    ----------
    probabilities
        (n, n_classes).
    truth
        (n,) indices of classes.
    classes
        Their names.
    """
    from sklearn.metrics import f1_score, log_loss, roc_auc_score

    found = probabilities.argmax(axis=1)
    labels = np.arange(len(classes))
    scores = {
        "accuracy": float((found == truth).mean()),
        "macro_f1": float(f1_score(truth, found, labels=np.unique(truth), average="macro")),
        # scikit-learn's knows no single class, of which each cell is for sure.
        "log_loss": float(log_loss(truth, probabilities, labels=labels))
        if len(labels) > 1
        else 0.0,
    }
    if len(classes) == 2 and len(np.unique(truth)) == 2:
        scores["auc"] = float(roc_auc_score(truth, probabilities[:, 1]))
    return scores


def score_numbers(found: NDArray[np.floating], truth: NDArray[np.floating]) -> dict[str, float]:
    """R², the mean absolute error, and Spearman's correlation.

    Parameters
    ----------
    found, truth
        (n,) numbers in their own units.
    """
    from scipy.stats import spearmanr
    from sklearn.metrics import mean_absolute_error, r2_score

    if len(truth) < 2:
        return {"mae": float(mean_absolute_error(truth, found))}
    with warnings.catch_warnings():
        # That all numbers are alike: there is no correlation then.
        warnings.simplefilter("ignore")
        correlation = spearmanr(truth, found).statistic
    return {
        "r2": float(r2_score(truth, found)),
        "mae": float(mean_absolute_error(truth, found)),
        **({"spearman": float(correlation)} if np.isfinite(correlation) else {}),
    }
