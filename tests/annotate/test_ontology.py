"""Labels as terms of the Cell Ontology."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

import rankformer
from rankformer.annotate import ontology
from rankformer.annotate.ontology import term_line, terms_of, with_terms
from rankformer.results.cell_labels import CellLabels


@pytest.mark.parametrize(("label", "term_id"), [
    # As CELLxGENE lists them, and as pbmc3k, ifnb and the blood cells that ship name their cells.
    ("natural killer cell", "CL:0000623"), ("NK cells", "CL:0000623"), ("CD56+ NK", "CL:0000623"),
    ("CD14+ Monocytes", "CL:0001054"), ("CD14 Mono", "CL:0001054"),
    ("FCGR3A+ Monocytes", "CL:0002396"), ("B cells", "CL:0000236"), ("CD19+ B", "CL:0000236"),
    ("CD4 Naive T", "CL:0000895"), ("naive_CD4_T_cell", "CL:0000895"), ("CD8 T", "CL:0000625"),
    ("CD4+/CD25 T Reg", "CL:0000792"), ("Megakaryocytes", "CL:0000556"), ("pDC", "CL:0000784"),
])  # fmt: skip
def test_common_names_are_terms(label, term_id):
    assert terms_of([label])[label].term_id == term_id


def test_other_labels_have_no_term():
    assert terms_of(["H1975", "cluster 3", "CD34+", "unknown", "7"]) == {}
    # Signs, unless other labels name cells.
    assert terms_of(["A", "B", "C"]) == {}
    assert set(terms_of(["B", "NK", "other"])) == {"B", "NK"}


def test_each_name_means_one_term():
    path = Path(ontology.__file__).parent / "cell_ontology" / "terms.tsv"
    with path.open(encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened, delimiter="\t"))
    assert len({row["term_id"] for row in rows}) == len(rows)
    names = [
        name for row in rows for name in (row["name"], *filter(None, row["synonyms"].split(";")))
    ]
    for row in rows:
        assert re.fullmatch(r"CL:\d{7}", row["term_id"])
        assert terms_of([row["name"]])[row["name"]].term_id == row["term_id"]
    for name in names:
        own = {row["term_id"] for row in rows if name in (row["name"], *row["synonyms"].split(";"))}
        assert {each.term_id for each in terms_of([name, "NK cell"]).values()} >= own
        assert len(own) == 1


def test_cells_get_ids_and_what_has_none_is_told():
    values = np.array(["NK cells", "unknown", "odd", None], dtype=object)
    labels = with_terms(CellLabels(values), ("NK cells", "odd"))
    assert labels.further["ontology_term_id"].tolist() == ["CL:0000623", "unknown", None, None]
    assert labels.provenance["ontology"]["name"] == ["natural killer cell"]
    line = "Terms of the Cell Ontology were found for 1 of 2 labels. Without one: odd.\n"
    assert term_line(labels.provenance) == line
    plain = CellLabels(values)
    assert with_terms(plain, ("odd",)) is plain
    assert term_line(plain.provenance) == ""


def test_the_column_stands_beside_the_labels(tmp_path):
    cells = rankformer.datasets.blood_cells()
    reference = cells[::2].copy()
    reference.obs["mine"] = "x" + reference.obs["cell_type"].astype(str)
    query = cells[1::2].copy()
    rankformer.tl.annotate(
        query, reference=reference, label=["cell_type", "mine"], model="rankformer-mini",
        max_doubt=1.2,
    )  # fmt: skip
    ids = query.obs["predicted_cell_type_ontology_term_id"].astype(object)
    labels = query.obs["predicted_cell_type"].astype(str)
    assert set(ids[labels == "CD19+ B"]) == {"CL:0000236"}
    assert ids[labels == "CD34+"].isna().all()
    assert set(ids[labels == "unknown"]) <= {"unknown"}
    assert "predicted_mine_ontology_term_id" not in query.obs
    told = query.uns["rankformer"]["predicted_cell_type"]["ontology"]
    assert told["without_term"] == ["CD34+"]
    query.write_h5ad(tmp_path / "named.h5ad")
