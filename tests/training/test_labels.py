"""Labels are read as they stand, and what is no label is none."""

import numpy as np
import pandas as pd
import pytest
from tests.conftest import small_vocabulary

from rankformer.errors import SettingsError
from rankformer.training.labels import (
    read_cell_labels,
    read_classes,
    read_gene_labels,
    read_numbers,
)


def test_classes_of_any_type():
    for column in (
        pd.Series(["T", "B", None, "T", "unassigned"]),
        pd.Series(pd.Categorical(["T", "B", None, "T", "unassigned"])),
    ):
        labels = read_classes(column, "kind", unlabelled=["unassigned"])
        assert labels.head.classes == ("B", "T")
        assert labels.names.tolist() == ["T", "B", None, "T", None]
    assert read_classes(pd.Series([1, 0, 1]), "stim").names.tolist() == ["1", "0", "1"]
    assert read_classes(pd.Series([True, False]), "stim").head.classes == ("False", "True")


def test_numbers_and_their_scale():
    labels = read_numbers(pd.Series([1.0, 3.0, np.nan, np.inf, 100.0]), "age")
    assert labels.known.tolist() == [True, True, False, False, True]
    scaled = labels.scaled(np.array([0, 1]))
    assert (scaled.head.mean, scaled.head.scale) == (2.0, 1.0)
    np.testing.assert_allclose(scaled.truth[[0, 1, 4]], [-1.0, 1.0, 98.0])
    np.testing.assert_allclose(scaled.names[[0, 1, 4]].astype(float), [1.0, 3.0, 100.0])


def test_several_with_weights():
    obs = pd.DataFrame({"kind": ["a", "b"], "age": [1, 2]})
    labels = read_cell_labels(obs, ["kind"], ["age"], weights=[1.0, 0.3])
    assert [(each.head.name, each.head.weight) for each in labels] == [("kind", 1.0), ("age", 0.3)]


@pytest.mark.parametrize(
    ("classes", "numbers", "weights", "sentence"),
    [
        ([], [], None, "No label was named"),
        (["kind"], ["kind"], None, "labels are kind, kind"),
        (["donor"], [], None, "obs has no column 'donor'"),
        (["one"], [], None, r"'one' has 1 class\(es\): x"),
        ([], ["kind"], None, "'kind' holds 'a'"),
        ([], ["same"], None, "'same' holds 1 number"),
        (["counts"], [], None, "'counts' has 40 numbers in 40 rows"),
        (["kind"], [], [1.0, 2.0], r"2 weight\(s\) were given for 1 label"),
        (["kind"], [], [0.0], r"1 weight\(s\) were given"),
    ],
)
def test_labels_that_cannot_be_learned(classes, numbers, weights, sentence):
    obs = pd.DataFrame({"kind": ["a", "b"] * 20, "one": "x", "same": 3.0, "counts": np.arange(40)})
    with pytest.raises(SettingsError, match=sentence):
        read_cell_labels(obs, classes, numbers, weights=weights)


@pytest.mark.parametrize(
    "values", [pd.date_range("2020", periods=3), np.array([1j, 2, 3])], ids=str
)
def test_what_is_no_number(values):
    with pytest.raises(SettingsError, match="The label 'age' holds"):
        read_numbers(pd.Series(values), "age")


@pytest.fixture
def genes():
    vocabulary = small_vocabulary()
    ids = vocabulary.ensembl_ids
    table = pd.DataFrame(
        {"gene": [ids[5], "G3", ids[0], "NOGENE", f"{ids[7]}.4"], "kind": ["x", "y", "x", "x", "y"]}
    )
    return vocabulary, table


def test_genes_by_any_identifier_from_a_file(genes, tmp_path):
    vocabulary, table = genes
    ids = vocabulary.ensembl_ids
    for name, separator in (("genes.csv", ","), ("genes.tsv", "\t")):
        table.to_csv(tmp_path / name, sep=separator, index=False)
        tokens, labels = read_gene_labels(tmp_path / name, vocabulary, gene="gene", label="kind")
        found = dict(zip(vocabulary.ensembl_id_of[tokens], labels.names, strict=True))
        assert found == {ids[0]: "x", ids[2]: "y", ids[5]: "x", ids[7]: "y"}


def test_classes_of_genes_by_number_in_a_column_of_any_name(genes):
    """``index`` is what the index of var is called elsewhere; a gap makes numbers floats."""
    vocabulary, table = genes
    table = table.assign(kind=[1.0, 0.0, 1.0, 1.0, np.nan]).rename(columns={"gene": "index"})
    _, labels = read_gene_labels(table, vocabulary, gene="index", label="kind")
    assert labels.head.classes == ("0", "1")


def test_a_gene_with_two_classes(genes):
    vocabulary, table = genes
    table.loc[len(table)] = [vocabulary.ensembl_ids[0], "y"]
    with pytest.raises(SettingsError, match="more than one class, ENSG00000000001"):
        read_gene_labels(table, vocabulary, gene="gene", label="kind")


@pytest.mark.parametrize(("gene", "label"), [("id", "kind"), ("gene", "class")])
def test_a_table_without_the_column(genes, gene, label):
    vocabulary, table = genes
    with pytest.raises(SettingsError, match="table of genes has no column"):
        read_gene_labels(table, vocabulary, gene=gene, label=label)


def test_many_numbers_as_classes_are_told_with_what_learns_numbers(caplog):
    """109 ages of 2,000 cells are no 109 kinds of cells; 20 clusters are."""
    ages = pd.Series(np.arange(2_000) % 109)
    assert len(read_classes(ages, "age").head.classes) == 109
    assert "109 different numbers" in caplog.text
    assert "--regress age" in caplog.text
    caplog.clear()
    read_classes(pd.Series(np.arange(2_000) % 20), "cluster")
    read_classes(pd.Series(np.arange(2_000) % 109).astype(str), "kind")
    assert not caplog.text
