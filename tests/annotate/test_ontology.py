"""Labels as terms of the Cell Ontology."""

import csv
import re
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import rankformer
from rankformer.annotate import ontology
from rankformer.annotate.ontology import held_out_terms, term_line, terms_of, with_terms
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


def test_broader_terms_are_known_and_end():
    path = Path(ontology.__file__).parent / "cell_ontology" / "terms.tsv"
    with path.open(encoding="utf-8") as opened:
        broader = {row["term_id"]: row["broader"] for row in csv.DictReader(opened, delimiter="\t")}
    for term in broader:
        seen = [term]
        while broader[seen[-1]]:
            seen.append(broader[seen[-1]])
            assert seen.count(seen[-1]) == 1


CLASSES = ("CD8 naive", "CD8 memory", "CD4 T", "NK", "Fibroblasts", "Neurons", "odd")


@pytest.mark.parametrize(
    ("label", "calls", "term_id"),
    [
        # Given to cells of these labels, in the order of CLASSES.
        ("CD8 naive", [8, 2, 0, 0, 0, 0, 0], "CL:0000900"),
        ("CD8 naive", [7, 3, 0, 0, 0, 0, 0], "CL:0000625"),
        ("CD8 naive", [6, 1, 3, 0, 0, 0, 0], "CL:0000084"),
        ("CD8 naive", [5, 0, 0, 5, 0, 0, 0], "CL:0000542"),
        ("CD4 T", [1, 2, 7, 0, 0, 0, 0], "CL:0000084"),
        ("CD4 T", [0, 0, 100, 9, 9, 0, 0], "CL:0000624"),
        # Nothing known is both, or what the other is has no term.
        ("Fibroblasts", [0, 0, 0, 0, 7, 3, 0], None),
        ("NK", [0, 0, 0, 7, 0, 0, 3], None),
        # Never given to a held-out cell.
        ("NK", [0, 0, 0, 0, 0, 0, 0], None),
        ("odd", [0, 0, 0, 0, 0, 0, 9], None),
    ],
)
def test_confused_labels_get_a_broader_term(label, calls, term_id):
    table = 10 * np.eye(len(CLASSES), dtype=np.int64)
    table[CLASSES.index(label)] = calls
    found = held_out_terms(terms_of(CLASSES), CLASSES, table)
    assert (found[label].term_id if label in found else None) == term_id
    assert set(found) >= set(CLASSES) - {label, "odd"}


def test_what_is_broader_or_lacks_a_term_is_told():
    values = np.array(["CD8 naive", "NK", "unknown"], dtype=object)
    table = 10 * np.eye(len(CLASSES), dtype=np.int64)
    table[0], table[3] = [5, 5, 0, 0, 0, 0, 0], 0
    labels = with_terms(CellLabels(values), CLASSES, table)
    assert labels.further["ontology_term_id"].tolist() == ["CL:0000625", None, "unknown"]
    line = term_line(labels.provenance)
    assert "found for 5 of 7 labels. Without one: odd." in line
    assert "given to CD8 naive (CD8-positive, alpha-beta T cell)." in line
    assert "None is given to NK: " in line
    table[0] = [10, 0, 0, 0, 0, 0, 0]
    alone = term_line(with_terms(CellLabels(values), CLASSES, table).provenance)
    assert "None is given to NK: " in alone
    assert "Broader" not in alone


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
    terms = dict(zip(told["label"], told["term_id"], strict=True))
    # Kinds of CD8 T cells are confused with one another there, the naive ones also with others, and
    # those of CD4 T cells.
    assert terms["CD8+ Cytotoxic T"] in ("CL:0000794", "CL:0000625")
    assert terms["CD8+/CD45RA+ Naive Cytotoxic"] in ("CL:0000625", "CL:0000084")
    assert terms["CD4+/CD25 T Reg"] in ("CL:0000624", "CL:0000084")
    query.write_h5ad(tmp_path / "named.h5ad")


def test_terms_are_right_more_often_than_labels_are():
    """Of cells that were not learned from; a broader term than that of the truth is right."""
    cells = rankformer.datasets.blood_cells()
    reference, query = cells[::2].copy(), cells[1::2].copy()
    rankformer.tl.annotate(
        query, reference=reference, label="cell_type", model="rankformer-mini", max_doubt=5
    )
    t_cells = {
        "CL:0000624": ["CD4+/CD25 T Reg", "CD4+/CD45RA+/CD25- Naive T", "CD4+/CD45RO+ Memory"],
        "CL:0000625": ["CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic"],
    }
    is_of = {
        "CL:0000236": ["CD19+ B"], "CL:0000623": ["CD56+ NK"], "CL:0000451": ["Dendritic"],
        "CL:0000738": list(set(cells.obs["cell_type"]) - {"CD34+"}), **t_cells,
        "CL:0000794": ["CD8+ Cytotoxic T"], "CL:0000084": [*chain(*t_cells.values())],
    }  # fmt: skip
    truth = query.obs["cell_type"].astype(str)
    ids = query.obs["predicted_cell_type_ontology_term_id"].astype(object)
    named = ids.notna() & (ids != "unknown")
    assert named.sum() > 300
    are_right = [each in is_of[term] for each, term in zip(truth[named], ids[named], strict=True)]
    assert np.mean(are_right) > 0.92
    assert (query.obs["predicted_cell_type"].astype(str) == truth)[named].mean() < 0.86
