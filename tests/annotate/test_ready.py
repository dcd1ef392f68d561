"""Cells named by the reference that ships."""

from pathlib import Path

import anndata as ad
import pytest
from sklearn.metrics import f1_score

import rankformer
from rankformer.annotate.ready import find_ready, reading_of_reference
from rankformer.tokens.reading_options import ReadingOptions

GROUP = {
    "CD19+ B": "B", "CD56+ NK": "NK", "CD14+ Monocyte": "myeloid", "Dendritic": "myeloid",
    "CD34+": "CD34+",
}  # fmt: skip


@pytest.fixture(scope="module")
def blood(tmp_path_factory):
    """Every fifth of the cells that ship, with half of their counts: not the same profiles."""
    cells = rankformer.datasets.blood_cells()[::5].copy()
    cells.X.data = (cells.X.data + 1) // 2
    folder = tmp_path_factory.mktemp("ready")
    cells.write_h5ad(folder / "query.h5ad")
    return folder


def test_cells_are_named_with_no_labels_of_ones_own(command, blood, monkeypatch):
    monkeypatch.chdir(blood)
    status, _, said = command(
        "annotate", "query.h5ad", "-r", "blood", "-o", "named.h5ad", "--model", "rankformer-mini"
    )
    assert status == 0, said
    assert "one healthy donor" in said
    assert "no cell of another tissue" in said
    found = ad.read_h5ad("named.h5ad").obs
    truth = found["cell_type"].astype(str).map(lambda each: GROUP.get(each, "T"))
    best = found["predicted_cell_type_best"].astype(str).map(lambda each: GROUP.get(each, "T"))
    assert f1_score(truth, best, labels=["B", "NK", "myeloid", "T"], average="macro") > 0.9


def test_in_python_with_another_label(blood, caplog):
    cells = ad.read_h5ad(blood / "query.h5ad")
    rankformer.tl.annotate(cells, reference="blood", label="louvain", model="rankformer-mini")
    assert "predicted_louvain" in cells.obs
    assert "one healthy donor" in caplog.text


def test_its_counts_lie_elsewhere_than_those_of_the_cells(command, blood, tmp_path):
    """The query has them in raw, and logarithms in X; the reference has them in X."""
    cells = ad.read_h5ad(blood / "query.h5ad")
    plain = cells.copy()
    cells.raw = cells
    cells.X = cells.X.log1p()
    cells.write_h5ad(tmp_path / "query.h5ad")
    status, _, said = command(
        "annotate", tmp_path / "query.h5ad", "-r", "blood", "-o", tmp_path / "named.h5ad",
        "--model", "rankformer-mini", "--use-raw",
    )  # fmt: skip
    assert status == 0, said
    found = ad.read_h5ad(tmp_path / "named.h5ad").obs["predicted_cell_type"]
    for each, where in ((plain, {}), (cells, {"use_raw": True})):
        rankformer.tl.annotate(each, reference="blood", model="rankformer-mini", **where)
        assert (each.obs["predicted_cell_type"].astype(str) == found.astype(str)).all()


def test_it_is_read_as_it_lies_whatever_is_said_of_the_cells():
    options = ReadingOptions(
        layer="counts", undo_log1p=True, gene_ids="symbol", only_genes=frozenset({"ENSG1"}),
        n_threads=1,
    )  # fmt: skip
    ready = [find_ready(["blood"]).path]
    expected = ReadingOptions(only_genes=frozenset({"ENSG1"}), n_threads=1)
    assert reading_of_reference(ready, options) == expected
    for own in ([Path("mine.h5ad")], [*ready, Path("mine.h5ad")], []):
        assert reading_of_reference(own, options) == options


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_ready([Path("blood")]).label == "cell_type"
    assert find_ready(["blood"]).path.is_file()
    assert find_ready(["blood", "blood"]) is None
    assert find_ready(["marrow"]) is None
    Path("blood").touch()
    assert find_ready(["blood"]) is None
