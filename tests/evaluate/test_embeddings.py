"""Figures of embeddings, beside what numpy, scikit-learn and plain reasoning say."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import f1_score, silhouette_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

import rankformer
from rankformer.cells.normalise import log_normalise
from rankformer.evaluate.batch_mixing import (
    expected_entropy,
    neighbourhood_entropy,
    score_batch_mixing,
)
from rankformer.evaluate.embedding_metrics import ExpressionSpace, score_silhouettes
from rankformer.evaluate.embedding_report import MAJORITY
from rankformer.evaluate.embeddings import HVG_PCA
from rankformer.evaluate.expression_baselines import choose_variable_genes

N_CELLS, N_CLASSES = 240, 3
SETTINGS = {
    "keys": ["X_perfect", "X_shuffled"], "label": "cell_type", "batch": "donor", "group": "donor",
    "n_seeds": 2,
}  # fmt: skip
F1 = ["knn_macro_f1", "linear_macro_f1"]


def labelled_cells(seed=0):
    """Cells of three types in four donors; a few genes tell the types apart."""
    rng = np.random.default_rng(seed)
    types, donors = rng.integers(0, N_CLASSES, N_CELLS), rng.integers(0, 4, N_CELLS)
    means = rng.gamma(1.0, 1.0, (N_CLASSES, 60)) * 2
    adata = ad.AnnData(csr_matrix(rng.poisson(means[types]).astype(np.float32)))
    adata.obs["cell_type"] = np.array(["B", "NK", "T"])[types]
    adata.obs["donor"] = np.array(["d1", "d2", "d3", "d4"])[donors]
    one_hot = np.eye(N_CLASSES, dtype=np.float32)[types]
    adata.obsm["X_perfect"] = one_hot + rng.normal(0, 0.01, one_hot.shape).astype(np.float32)
    adata.obsm["X_shuffled"] = adata.obsm["X_perfect"][rng.permutation(N_CELLS)]
    return adata


@pytest.fixture(scope="module")
def adata():
    return labelled_cells()


@pytest.fixture(scope="module")
def evaluation(adata):
    return rankformer.evaluate_embeddings(adata, **SETTINGS)


def test_a_perfect_embedding_and_a_shuffled_one(evaluation):
    means = evaluation.summary().pivot_table("mean", "method", "figure")
    for figure in [*F1, "ari", "nmi"]:
        assert means.loc["X_perfect", figure] == pytest.approx(1)
    assert means.loc["X_perfect", "silhouette_label"] > 0.95
    assert (means.loc["X_shuffled", F1] < 0.45).all()  # a third is chance
    assert (means.loc["X_shuffled", ["ari", "nmi"]].abs() < 0.05).all()


def test_the_baselines_stand_beside(evaluation):
    means = evaluation.summary().pivot_table("mean", "method", "figure")
    assert set(means.index) == {"X_perfect", "X_shuffled", HVG_PCA, MAJORITY}
    assert means.loc[HVG_PCA, "linear_macro_f1"] > 0.95
    # One class is found with some precision, the two others never.
    assert means.loc[MAJORITY, "linear_macro_f1"] < 0.2


def test_knn_is_that_of_scikit_learn(adata, evaluation):
    labels, donors = adata.obs["cell_type"].to_numpy(), adata.obs["donor"].to_numpy()
    found = cross_val_predict(
        KNeighborsClassifier(15), adata.obsm["X_shuffled"], labels, groups=donors,
        cv=LeaveOneGroupOut(),
    )  # fmt: skip
    scores = evaluation.scores.query("method == 'X_shuffled' and figure == 'knn_macro_f1'")
    scores = scores.set_index("fold")["value"]
    of_all = scores["all"]
    assert of_all == pytest.approx(f1_score(labels, found, average="macro"))
    own = donors == "d2"
    of_one = scores["d2"]
    assert of_one == pytest.approx(f1_score(labels[own], found[own], average="macro"))


def test_confusion_counts_every_cell_once(adata, evaluation):
    table = evaluation.confusion["X_perfect"]
    assert np.array_equal(table, np.diag(adata.obs["cell_type"].value_counts().sort_index()))
    assert evaluation.confusion["X_shuffled"].to_numpy().sum() == N_CELLS


def test_cells_that_lack_something_are_left_out_of_all_methods(adata, caplog):
    holed = adata.copy()
    holed.obsm["X_perfect"][:5] = np.nan
    holed.obs.loc[holed.obs_names[5:9], "cell_type"] = None
    whole = adata[9:].copy()
    settings = {"label": "cell_type", "group": "donor", "n_seeds": 1}
    keys = ["X_perfect", "X_shuffled"]
    found = rankformer.evaluate_embeddings(holed, keys, **settings)
    plain = rankformer.evaluate_embeddings(whole, keys, **settings)
    pd.testing.assert_frame_equal(found.scores, plain.scores)
    assert found.left_out == {"no embedding in X_perfect": 5, "no cell_type": 4}
    assert "5 of 240 cells are left out of every figure: no embedding in X_perfect" in caplog.text


def test_a_label_of_one_donor_cannot_be_tested(adata):
    cells = adata.copy()
    cells.obs["cell_type"] = cells.obs["cell_type"].where(cells.obs["donor"] != "d1", "only here")
    found = rankformer.evaluate_embeddings(
        cells, "X_perfect", label="cell_type", group="donor", n_seeds=1
    )
    n_own = int((adata.obs["donor"] == "d1").sum())
    assert found.left_out == {"cell_type only here lies in one donor alone": n_own}


def test_without_groups_it_is_said_what_may_leak(adata, caplog):
    found = rankformer.evaluate_embeddings(
        adata, "X_shuffled", label="cell_type", ignored=["NK"], n_seeds=3
    )
    assert "cells of one donor or batch lie in training and in test" in caplog.text
    assert any("training and in test" in note for note in found.notes)
    summary = found.summary().loc[("X_shuffled", "knn_macro_f1")]
    assert summary["spread"] > 0
    assert summary["lowest_fold"] < summary["mean"]
    assert found.settings["classes"] == ["B", "T"]


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_a_file_is_evaluated_as_what_it_holds(adata, evaluation, tmp_path, suffix):
    path = tmp_path / f"cells{suffix}"
    (adata.write_h5ad if suffix == ".h5ad" else adata.write_zarr)(path)
    found = rankformer.evaluate_embeddings(path, **SETTINGS)
    pd.testing.assert_frame_equal(found.scores, evaluation.scores)


def test_hvg_and_pca_know_nothing_of_the_cells_that_are_tested(adata):
    fold = (np.arange(200), np.arange(200, N_CELLS))
    changed = adata.X.toarray()
    changed[200:] = np.random.default_rng(1).poisson(50, (40, 60))
    plain, _ = ExpressionSpace(log_normalise(adata.X)).fold(fold)
    other, _ = ExpressionSpace(log_normalise(csr_matrix(changed))).fold(fold)
    np.testing.assert_array_equal(plain, other)


def test_log_normalised_values():
    found = log_normalise(csr_matrix([[1, 3, 0], [0, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(found.toarray(), np.log1p([[2500, 7500, 0], [0, 0, 0]]), rtol=1e-6)


def test_variable_genes_are_those_that_vary():
    rng = np.random.default_rng(0)
    means = np.tile(rng.gamma(2.0, 2.0, 400), (300, 1))
    means[:150, :10] *= 1.9
    means[150:, :10] *= 0.1  # as much on average as other genes, and unevenly
    counts = rng.poisson(means).astype(np.float32)
    counts[:, 399] = 0
    values = log_normalise(csr_matrix(counts))
    assert set(range(10)) <= set(choose_variable_genes(values, 30))
    assert choose_variable_genes(values, 1000).tolist() == list(range(399))


def test_entropy_by_hand():
    neighbours = np.array([[0, 0, 1, 1], [2, 2, 2, 2], [0, 1, 1, 1]])
    expected = [np.log(2), 0, -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))]
    np.testing.assert_allclose(neighbourhood_entropy(neighbours, 3), expected)


def test_expected_entropy_is_that_of_drawn_neighbours():
    rng = np.random.default_rng(0)
    batches = np.repeat([0, 1, 2], [30, 15, 5])
    drawn = [
        rng.permutation(np.delete(batches, cell))[:12]
        for cell in range(len(batches))
        for _ in range(200)
    ]
    simulated = neighbourhood_entropy(np.array(drawn), 3).mean()
    assert expected_entropy(np.array([30, 15, 5]), 12) == pytest.approx(simulated, abs=0.01)


def test_batches_that_are_mixed_and_batches_that_are_not():
    rng = np.random.default_rng(0)
    codes, batches = rng.integers(0, 2, 1000), rng.integers(0, 3, 1000)
    vectors = (rng.normal(size=(1000, 5)) + 10 * codes[:, None]).astype(np.float32)
    assert score_batch_mixing(vectors, codes, batches) == pytest.approx(1, abs=0.02)
    apart = vectors + 100 * batches[:, None].astype(np.float32)
    assert score_batch_mixing(apart, codes, batches) == 0
    assert np.isnan(score_batch_mixing(vectors[:10], codes[:10], batches[:10]))


def test_batches_of_other_types_need_not_be_mixed():
    """Batch 0 has one type only: neighbours of other types do not count."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 300)
    batches = np.where(codes == 0, 0, rng.integers(0, 2, 600))
    vectors = (rng.normal(size=(600, 5)) + 50 * codes[:, None]).astype(np.float32)
    assert score_batch_mixing(vectors, codes, batches) == pytest.approx(1, abs=0.03)


def test_silhouettes():
    rng = np.random.default_rng(0)
    codes, batches = np.repeat([0, 1], 100), np.tile([0, 1], 100)
    vectors = (rng.normal(size=(200, 3)) + 3 * codes[:, None]).astype(np.float32)
    mixed = score_silhouettes(vectors, codes, batches, seed=0)
    assert mixed["silhouette_label"] == pytest.approx(silhouette_score(vectors, codes))
    by_hand = np.mean(
        [1 - np.abs(silhouette_scores(vectors[codes == each], batches[codes == each])).mean()
         for each in (0, 1)]
    )  # fmt: skip
    assert mixed["silhouette_batch"] == pytest.approx(by_hand)
    apart = vectors + 20 * batches[:, None].astype(np.float32)
    assert score_silhouettes(apart, codes, batches, seed=0)["silhouette_batch"] < 0.2


def silhouette_scores(vectors, codes):
    """(b - a) / max(a, b), cell by cell: a within the own cluster, b to the other of two."""
    distances = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    scores = []
    for cell, code in enumerate(codes):
        own = codes == code
        within = distances[cell, own].sum() / (own.sum() - 1)
        to_other = distances[cell, ~own].mean()
        scores.append((to_other - within) / max(within, to_other))
    return np.array(scores)
