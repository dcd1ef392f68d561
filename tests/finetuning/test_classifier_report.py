"""Figures of classifiers: computed by hand, and by scikit-learn."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import log_loss, roc_auc_score

import rankformer
from rankformer.finetuning.calibration import bin_by_confidence, expected_calibration_error
from rankformer.finetuning.classifier_report import LOGISTIC, MAJORITY

TRUE = ["A", "A", "A", "B", "B", "C"]
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.2, 0.7, 0.1],
        [0.1, 0.9, 0.0],
        [0.3, 0.1, 0.6],
        [0.1, 0.2, 0.7],
    ]
)


@pytest.fixture
def evaluation():
    return rankformer.evaluate_classifier(TRUE, PROBABILITIES, ["A", "B", "C"], n_bins=2)


def test_confusion_and_classes_by_hand(evaluation):
    assert evaluation.confusion["model"].to_numpy().tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    own = evaluation.per_class.query("method == 'model'").set_index("class")
    assert own["precision"].tolist() == [1, 0.5, 0.5]
    np.testing.assert_allclose(own["recall"], [2 / 3, 1 / 2, 1])
    np.testing.assert_allclose(own["f1"], [4 / 5, 1 / 2, 2 / 3])
    assert own["n_cells"].tolist() == [3, 2, 1]
    figures = evaluation.figures["model"]
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert figures["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)


def test_cells_are_whole_numbers_where_no_prediction_is_right(command, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    true = ["A"] * 124 + ["B"] * 76
    obs = pd.DataFrame({"type": true, "guess": ["B"] * 124 + ["A"] * 76},
                       index=[f"cell{i}" for i in range(200)])  # fmt: skip
    ad.AnnData(csr_matrix(np.ones((200, 2))), obs=obs).write_h5ad(tmp_path / "a.h5ad")
    status, shown, said = command(
        "evaluate", tmp_path / "a.h5ad", "--predicted", "guess", "--label", "type",
        "-o", tmp_path / "figures",
    )  # fmt: skip
    assert status == 0, said
    assert shown.count(" 124") == shown.count(" 76") == 1
    assert "124.0" not in shown
    table = pd.read_csv(tmp_path / "figures" / "per_class.csv")
    assert table["n_cells"].dtype == np.int64


def test_probabilities_as_scikit_learn_scores_them():
    rng = np.random.default_rng(0)
    true = rng.choice(["a", "b", "c", "d"], 500)
    probabilities = rng.dirichlet(np.ones(4), 500)
    order = [2, 0, 3, 1]  # the model's columns need not be sorted
    found = rankformer.evaluate_classifier(
        true, probabilities[:, order], np.array(["a", "b", "c", "d"])[order]
    ).figures["model"]
    assert found["log_loss"] == pytest.approx(log_loss(true, probabilities))
    expected = roc_auc_score(true, probabilities, multi_class="ovr")
    assert found["roc_auc"] == pytest.approx(expected)


def test_two_classes_have_a_roc():
    rng = np.random.default_rng(0)
    true = rng.choice(["no", "yes"], 300)
    share = np.clip(rng.normal(0.4 + 0.2 * (true == "yes"), 0.2), 0, 1)
    found = rankformer.evaluate_classifier(true, np.c_[1 - share, share], ["no", "yes"])
    curve = found.roc["model"]
    area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
    # The share of pairs that are in order.
    pairs = share[true == "yes"][:, None] - share[true == "no"][None]
    by_pairs = (pairs > 0).mean() + (pairs == 0).mean() / 2
    assert found.figures.loc["roc_auc", "model"] == pytest.approx(by_pairs)
    assert area == pytest.approx(by_pairs)


def test_calibration_by_hand():
    confidence = np.array([0.5, 0.55, 0.9, 0.95, 1.0])
    right = np.array([True, False, True, True, False])
    bins = bin_by_confidence(confidence, right, 10)
    assert bins["n_cells"].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 1, 2]
    # 0.5 | 0.55 | 0.9 | 0.95 and 1.0: off by 0.5, 0.55, 0.1 and 0.475.
    expected = (0.5 + 0.55 + 0.1 + 2 * 0.475) / 5
    assert expected_calibration_error(bins) == pytest.approx(expected)


def test_probabilities_that_mean_what_they_say_are_calibrated():
    rng = np.random.default_rng(0)
    share = rng.uniform(0, 1, 40_000)
    true = np.where(rng.random(40_000) < share, "yes", "no")
    found = rankformer.evaluate_classifier(true, np.c_[1 - share, share], ["no", "yes"])
    assert found.figures.loc["calibration_error", "model"] < 0.01
    sure = np.where(share > 0.5, 0.99, 0.01)
    found = rankformer.evaluate_classifier(true, np.c_[1 - sure, sure], ["no", "yes"])
    assert found.figures.loc["calibration_error", "model"] == pytest.approx(0.24, abs=0.01)


def test_the_largest_class_stands_beside(evaluation):
    guess = evaluation.figures[MAJORITY]
    shares = np.array([3, 2, 1]) / 6
    assert guess["accuracy"] == pytest.approx(0.5)
    assert guess["log_loss"] == pytest.approx(-(shares * np.log(shares)).sum())
    assert guess["roc_auc"] == pytest.approx(0.5)


def test_uncertain_and_unknown_cells(caplog):
    uncertain = [False, False, True, False, True, False, True, False]
    probabilities = np.vstack([PROBABILITIES, PROBABILITIES[:2]])
    found = rankformer.evaluate_classifier(
        [*TRUE, "D", "D"], probabilities, ["A", "B", "C"], baseline=probabilities,
        uncertain=np.array(uncertain),
    )  # fmt: skip
    figures = found.figures["model"]
    assert figures["certain_share"] == pytest.approx(4 / 6)
    assert figures["certain_accuracy"] == 1
    assert np.isnan(found.figures.loc["certain_share", LOGISTIC])
    assert found.n_cells == 6
    assert found.left_out == {"label unknown to the model": 2}
    assert "2 of 8 cells" in caplog.text
    assert any("(D); 50% of them were marked uncertain" in note for note in found.notes)


def cells_of_two_types(n_cells=200, seed=0):
    rng = np.random.default_rng(seed)
    types = rng.integers(0, 2, n_cells)
    counts = rng.poisson(2, (n_cells, 30))
    counts[:, :5] += rng.poisson(6, (n_cells, 5)) * types[:, None]
    return csr_matrix(counts.astype(np.float32)), np.array(["B", "T"])[types]


def test_baseline_tells_types_apart():
    counts, labels = cells_of_two_types()
    found = rankformer.fit_baseline(
        counts[:150], labels[:150], counts[150:], classes=["T", "other", "B"]
    )
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found[:, 1] == 0).all()
    assert (np.array(["T", "other", "B"])[found.argmax(axis=1)] == labels[150:]).mean() > 0.9


def test_baseline_learns_nothing_from_the_cells_it_is_tested_on():
    counts, labels = cells_of_two_types()
    alone = rankformer.fit_baseline(counts[:150], labels[:150], counts[150:151], n_genes=10)
    among = rankformer.fit_baseline(counts[:150], labels[:150], counts[150:], n_genes=10)
    np.testing.assert_allclose(alone, among[:1], rtol=1e-6)


@pytest.fixture
def predicted():
    counts, labels = cells_of_two_types()
    adata = ad.AnnData(counts)
    adata.obs["cell_type"] = labels
    adata.obs["donor"] = np.tile(["d1", "d2", "d3", "d4"], 50)
    guess = labels.astype(object)
    guess[:20] = "unknown"
    adata.obs["guess"] = guess
    adata.obs["guess_probability"] = np.where(guess == "unknown", 0.4, 0.9)
    adata.obs["guess_uncertain"] = guess == "unknown"
    return adata


def test_predictions_in_obs(predicted):
    found = rankformer.evaluate_predictions(predicted, "guess", label="cell_type", group="donor")
    figures = found.figures["guess"]
    assert figures["accuracy"] == pytest.approx(0.9)
    assert figures["calibration_error"] == pytest.approx(0.1 * 0.4 + 0.9 * 0.1)
    assert figures["certain_share"] == pytest.approx(0.9)
    assert figures["certain_accuracy"] == 1
    assert found.confusion["guess"].columns.tolist() == ["B", "T", "unknown"]
    assert found.confusion["guess"]["unknown"].sum() == 20
    assert found.figures.loc["accuracy", LOGISTIC] > 0.9
    assert "another donor" in found.notes[0]


@pytest.mark.parametrize("suffix", ["", ".h5ad", ".zarr"])
def test_probabilities_that_predict_has_written(predicted, tmp_path, suffix):
    """``rankformer predict`` writes those of all classes into obsm, and the classes into uns."""
    source = predicted[20:].copy()
    share = np.random.default_rng(0).uniform(0.5, 1, source.n_obs)
    is_b = (source.obs["guess"] == "B").to_numpy()
    values = np.where(is_b[:, None], np.c_[1 - share, share], np.c_[share, 1 - share])
    source.obsm["guess_probabilities"] = values.astype(np.float32)
    source.obs["guess_probability"] = share
    source.uns["rankformer"] = {"guess": {"classes": ["T", "B"]}}
    if suffix:
        path = tmp_path / f"cells{suffix}"
        (source.write_h5ad if suffix == ".h5ad" else source.write_zarr)(path)
        source = path
    found = rankformer.evaluate_predictions(source, "guess", label="cell_type", baseline=False)
    assert found.figures.loc["roc_auc", "guess"] == 1
    expected = -np.log(share).mean()
    assert found.figures.loc["log_loss", "guess"] == pytest.approx(expected, rel=1e-5)


def test_predictions_without_counts(predicted):
    bare = ad.AnnData(obs=predicted.obs)
    found = rankformer.evaluate_predictions(bare, "guess", label="cell_type", baseline=False)
    assert found.figures.columns.tolist() == ["guess", MAJORITY]
