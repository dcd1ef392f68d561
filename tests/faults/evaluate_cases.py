"""Evaluations that cannot be made, or would mean nothing."""

from pathlib import Path

import h5py
import numpy as np
from tests.faults.bad_input import BadInput
from tests.faults.cells import N_CELLS, adata_of, counts

import rankformer

KEY = "evaluate pbmc.h5ad --key X_geneformer --label cell_type -o figures"
PREDICTED = "evaluate pbmc.h5ad --predicted guess --label cell_type -o figures"


def write(folder: Path, **columns) -> Path:
    """Cells with an embedding of three random dimensions."""
    adata = adata_of(counts())
    vectors = np.random.default_rng(0).normal(size=(N_CELLS, 3))
    adata.obsm["X_geneformer"] = vectors.astype(np.float32)
    for column, values in columns.items():
        adata.obs[column] = values
    path = folder / "pbmc.h5ad"
    adata.write_h5ad(path)
    return path


def of_one_class(folder: Path) -> None:
    write(folder, cell_type="B")


def of_one_donor(folder: Path) -> None:
    write(folder, donor="D1")


def class_in_a_donor(folder: Path) -> None:
    write(folder, donor=np.where(np.arange(N_CELLS) % 2, "D1", "D2"))


def of_numbers(folder: Path) -> None:
    write(folder, score=np.linspace(0, 1, N_CELLS))


def without_embeddings(folder: Path) -> None:
    with h5py.File(write(folder), "r+") as file:
        file["obsm/X_geneformer"][:] = np.nan


def too_short(folder: Path) -> None:
    with h5py.File(write(folder), "r+") as file:
        values = file["obsm/X_geneformer"][:-1]
        attributes = dict(file["obsm/X_geneformer"].attrs)
        del file["obsm/X_geneformer"]
        file["obsm/X_geneformer"] = values
        file["obsm/X_geneformer"].attrs.update(attributes)


def with_guess(folder: Path) -> None:
    write(folder, guess="B", guess_probability=np.linspace(0, 100, N_CELLS))


def with_marks(folder: Path) -> None:
    write(folder, guess="B", guess_uncertain="perhaps")


def folder_there(folder: Path) -> None:
    write(folder)
    (folder / "figures").mkdir()
    (folder / "figures" / "mine.txt").write_text("mine")


def file_there(folder: Path) -> None:
    write(folder)
    (folder / "figures").write_text("mine")


def scores_for_probabilities(_: Path) -> None:
    rankformer.evaluate_classifier(["B", "T"], np.array([[2.0, -1.0], [0.3, 1.2]]), ["B", "T"])


def classes_too_few(_: Path) -> None:
    rankformer.evaluate_classifier(["B", "T"], np.full((2, 3), 1 / 3), ["B", "T"])


def baseline_of_one_class(_: Path) -> None:
    rankformer.fit_baseline(counts(20), ["B"] * 20, counts(5))


CLASSIFIER = "evaluate pbmc.h5ad --label cell_type -o figures --classifier"
CASES = (
    BadInput(
        "a classifier that is no fine-tuned model", write,
        ("model is no fine-tuned model", "rankformer finetune"),
        f"{CLASSIFIER} model",
    ),
    BadInput(
        "`--classifier` with `--group`", write,
        ("--classifier is to be evaluated", "--group has no bearing", "Leave --group out"),
        f"{CLASSIFIER} model --group donor",
    ),
    BadInput(
        "`evaluate` with neither embeddings nor predictions", write,
        ("None of --key, --predicted, --classifier was given", "--predicted"),
        "evaluate pbmc.h5ad --label cell_type -o figures",
    ),
    BadInput(
        "`evaluate` with both", write,
        ("--key and --predicted were given",),
        f"{KEY} --predicted guess",
    ),
    BadInput(
        "an embedding that is not there", write,
        ("no 'X_umap' in obsm", "X_geneformer", "--key"),
        "evaluate pbmc.h5ad --key X_umap --label cell_type -o figures",
    ),
    BadInput(
        "a column of labels that is not there", write,
        ("no column 'type'", "cell_type", "--label"),
        "evaluate pbmc.h5ad --key X_geneformer --label type -o figures",
    ),
    BadInput(
        "a column of predictions that is not there", write,
        ("no column 'guess'", "--predicted"),
        PREDICTED,
    ),
    BadInput(
        "labels of one class", of_one_class,
        ("1 class(es) in cell_type", "two classes", "--label"),
        KEY,
    ),
    BadInput(
        "numbers for labels", of_numbers,
        ("holds numbers such as", "--label"),
        "evaluate pbmc.h5ad --key X_geneformer --label score -o figures",
    ),
    BadInput(
        "groups that each hold all of a class", class_in_a_donor,
        ("150 left out: cell_type B lies in one donor alone", "--group"),
        f"{KEY} --group donor",
    ),
    BadInput(
        "one group", of_one_donor,
        ("All 300 cells are of one group (D1)", "--group"),
        f"{KEY} --group donor",
    ),
    BadInput(
        "one batch", of_one_donor,
        ("one donor (D1)", "two batches", "--batch"),
        f"{KEY} --batch donor",
    ),
    BadInput(
        "fewer cells than folds", write,
        ("300 cells are to be cut into 500 folds", "--folds"),
        f"{KEY} --folds 500",
    ),
    BadInput(
        "one fold", write,
        ("1 fold(s)", "At least 2 folds", "--folds"),
        f"{KEY} --folds 1",
    ),
    BadInput(
        "embeddings that are all NaN", without_embeddings,
        ("0 cells", "300 left out: no embedding in X_geneformer"),
        KEY,
    ),
    BadInput(
        "an embedding with a row too few", too_short,
        ("shape (299, 3), for 300 cells", "One row a cell"),
        KEY,
    ),
    BadInput(
        "`--beside harmony` without batches", write,
        ("no batch was given", "--batch"),
        f"{KEY} --beside harmony",
    ),
    BadInput(
        "`--batch` with predictions", with_guess,
        ("--predicted is to be evaluated", "--batch has no bearing", "Leave --batch out"),
        f"{PREDICTED} --batch cell_type",
    ),
    BadInput(
        "probabilities in per cent", with_guess,
        ("guess_probability", "not from 0 to 1"),
        f"{PREDICTED} --no-baseline",
    ),
    BadInput(
        "marks of uncertainty that are neither true nor false", with_marks,
        ("guess_uncertain", "'perhaps'", "True or false"),
        f"{PREDICTED} --no-baseline",
    ),
    BadInput(
        "a folder of figures that is there", folder_there,
        ("figures exists already", "--overwrite"),
        KEY,
    ),
    BadInput(
        "a file in the place of the folder", file_there,
        ("figures is a file", "--output"),
        f"{KEY} --overwrite",
    ),
    BadInput(
        "scores in the place of probabilities", write,
        ("from -1 to 2", "sum to 1", "softmax"),
        call=scores_for_probabilities,
    ),
    BadInput(
        "more columns of probabilities than classes", write,
        ("shape (2, 3)", "2 different classes"),
        call=classes_too_few,
    ),
    BadInput(
        "a baseline trained on one class", write,
        ("are of B", "At least two classes"),
        call=baseline_of_one_class,
    ),
)  # fmt: skip
