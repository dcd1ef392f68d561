"""`rankformer evaluate`: the folder it writes, what the terminal shows, pictures to be read."""

import json
from itertools import pairwise

import anndata as ad
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import f1_score

import rankformer
from rankformer.errors import SettingsError
from rankformer.show.canvas import new_axes
from rankformer.show.confusion_plot import confusion_size, draw_confusion
from rankformer.show.evaluation_folder import write_classifier
from rankformer.show.evaluation_plots import draw_classifiers

N_CELLS = 90


@pytest.fixture
def path(tmp_path):
    """Cells with two embeddings, and predictions of which a tenth is wrong."""
    rng = np.random.default_rng(0)
    types = rng.integers(0, 2, N_CELLS)
    counts = rng.poisson(2, (N_CELLS, 40))
    counts[:, :5] += 8 * types[:, None]
    adata = ad.AnnData(csr_matrix(counts.astype(np.float32)))
    labels = np.array(["B", "T"])[types]
    adata.obs["cell_type"] = labels
    adata.obs["donor"] = np.tile(["d1", "d2", "d3"], N_CELLS // 3)
    adata.obs["guess"] = np.where(rng.random(N_CELLS) < 0.1, "B", labels)
    adata.obs["guess_probability"] = rng.uniform(0.5, 1, N_CELLS)
    for key in ("X_one", "X_two"):
        adata.obsm[key] = rng.normal(size=(N_CELLS, 4)).astype(np.float32) + types[:, None]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def test_embeddings(command, path, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    status, shown, said = command(
        "evaluate", path, "--key", "X_one", "--key", "X_two", "--label", "cell_type", "--batch",
        "donor", "--group", "donor", "--seeds", "2", "-o", tmp_path / "figures",
    )  # fmt: skip
    assert status == 0, said
    assert names(tmp_path) == ["cells.h5ad", "figures"]
    assert names(tmp_path / "figures") == [
        "comparison.png", "confusion-HVG-PCA.png", "confusion-X_one.png", "confusion-X_two.png",
        "figures.csv", "figures.json", "per_class.csv",
    ]  # fmt: skip
    assert max(map(len, shown.splitlines())) <= 80
    assert all(each in shown for each in ("X_one", "X_two", "HVG + PCA", "majority class"))
    written = json.loads((tmp_path / "figures" / "figures.json").read_text())
    evaluation = rankformer.evaluate_embeddings(
        path, ["X_one", "X_two"], label="cell_type", batch="donor", group="donor", n_seeds=2
    )
    for (method, figure), row in evaluation.summary().iterrows():
        assert written["figures"][method][figure]["mean"] == pytest.approx(row["mean"])
    tidy = pd.read_csv(tmp_path / "figures" / "figures.csv")
    assert tidy["value"].tolist() == pytest.approx(evaluation.scores["value"].tolist())


def test_predictions(command, path, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    status, shown, said = command(
        "evaluate", path, "--predicted", "guess", "--label", "cell_type", "--group", "donor",
        "-o", tmp_path / "figures",
    )  # fmt: skip
    assert status == 0, said
    assert names(tmp_path / "figures") == [
        "comparison.png", "confusion-guess.png", "confusion-logistic-regression.png",
        "confusion.csv", "figures.csv", "figures.json", "per_class.csv", "reliability.csv",
        "reliability.png", "roc.csv", "roc.png",
    ]  # fmt: skip
    assert max(map(len, shown.splitlines())) <= 80
    obs = ad.read_h5ad(path).obs
    tidy = pd.read_csv(tmp_path / "figures" / "figures.csv").set_index(["figure", "method"])
    expected = f1_score(obs["cell_type"], obs["guess"], average="macro")
    assert tidy.loc[("macro_f1", "guess"), "value"] == pytest.approx(expected)
    confusion = pd.read_csv(tmp_path / "figures" / "confusion.csv").query("method == 'guess'")
    table = confusion.set_index(["true", "predicted"])["n_cells"]
    assert table["B", "B"] == (obs["cell_type"] == "B").sum()
    assert table["B", "T"] == 0


def test_a_folder_is_replaced_when_asked(path, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    evaluation = rankformer.evaluate_predictions(path, "guess", label="cell_type", baseline=False)
    with pytest.raises(rankformer.RankformerError, match="appeared while"):
        write_classifier(folder, evaluation)
    assert names(folder) == ["old.txt"]
    write_classifier(folder, evaluation, overwrite=True)
    assert "old.txt" not in names(folder)
    assert names(tmp_path) == ["cells.h5ad", "figures"]


@pytest.fixture(scope="module")
def of_many_classes():
    rng = np.random.default_rng(0)
    classes = [f"type {i}, of a long and $plain$ name" for i in range(25)]
    true = rng.permutation(np.repeat(classes, 20))
    probabilities = rng.dirichlet(np.full(25, 0.1), len(true))
    return rankformer.evaluate_classifier(true, probabilities, classes, baseline=probabilities)


def test_labels_of_many_classes_do_not_overlap(of_many_classes):
    table = of_many_classes.confusion["model"]
    axes = new_axes(confusion_size(table))
    draw_confusion(axes, table, "model")
    axes.figure.draw_without_rendering()
    rows = [each.get_window_extent() for each in axes.get_yticklabels()]
    columns = [each.get_window_extent() for each in axes.get_xticklabels()]
    assert len(rows) == len(columns) == 25
    rows.sort(key=lambda box: box.y0)
    columns.sort(key=lambda box: box.x0)
    assert all(low.y1 <= high.y0 for low, high in pairwise(rows))
    assert all(left.x1 <= right.x0 for left, right in pairwise(columns))


def test_marks_stand_at_their_values(of_many_classes):
    axes = draw_classifiers(of_many_classes).axes[0]
    drawn = {round(float(x), 6) for mark in axes.collections for x in mark.get_offsets()[:, 0]}
    shown = of_many_classes.figures.loc[["accuracy", "balanced_accuracy", "macro_f1", "roc_auc"]]
    assert drawn == {round(float(value), 6) for value in shown.to_numpy().ravel()}


def test_pictures_are_pictures(of_many_classes, tmp_path):
    write_classifier(tmp_path / "figures", of_many_classes)
    for picture in (tmp_path / "figures").glob("*.png"):
        pixels = matplotlib.image.imread(picture)
        assert min(pixels.shape[:2]) > 300
        assert pixels[..., :3].min() < 0.5  # something is drawn


def test_predictions_with_other_names_are_no_zero_but_an_error(path):
    adata = ad.read_h5ad(path)
    adata.obs["guess"] = adata.obs["guess"].astype(str).map({"B": "B cell", "T": "T cell"})
    with pytest.raises(SettingsError) as raised:
        rankformer.evaluate_predictions(adata, "guess", label="cell_type", baseline=False)
    assert all(name in raised.value.found for name in ("B cell, T cell", "B, T"))
    # One name that both have is enough: the others may be kinds that the method did not know.
    adata.obs["guess"] = adata.obs["guess"].where(adata.obs["cell_type"] == "T", "B")
    rankformer.evaluate_predictions(adata, "guess", label="cell_type", baseline=False)
