"""Tables of labels fit a terminal of 80 columns, and lose nothing by it."""

import logging

from hypothesis import given
from hypothesis import strategies as st

import rankformer
from rankformer.annotate.told import lines_of

COLUMNS = ("label", "cells", "mean probability", "called unknown", "divided", "unlike", "far")
MARKERS = ("label", "cells", "in the reference", "here", "marker genes")
WORDS = st.lists(st.text("ABCdef123+", min_size=1, max_size=30), min_size=1, max_size=9)
COUNTS = st.integers(0, 99_999).map("{:,}".format)
SHARES = st.sampled_from(["", "0.123", "1.000"])


def letters(text):
    return sorted(text.replace(" ", "").replace("\n", ""))


@given(st.lists(st.tuples(WORDS.map(" ".join), COUNTS, SHARES, COUNTS, COUNTS, COUNTS, COUNTS),
                min_size=1, max_size=5))  # fmt: skip
def test_labels_of_any_length_fit(rows):
    told = lines_of(COLUMNS, rows)
    assert max(map(len, told.splitlines())) <= 80
    assert letters(told) == letters("".join(map("".join, (COLUMNS, *rows))))


@given(st.lists(st.tuples(WORDS.map(" ".join), COUNTS, SHARES, SHARES, WORDS.map(", ".join)),
                min_size=1, max_size=5))  # fmt: skip
def test_markers_of_any_length_fit(rows):
    told = lines_of(MARKERS, rows)
    assert max(map(len, told.splitlines())) <= 80
    assert letters(told) == letters("".join(map("".join, (MARKERS, *rows))))


def test_a_short_table_is_as_it_was():
    rows = [("B", "12", "0.9", "taken"), ("unknown", "3", "", "")]
    assert lines_of(("way", "cells", "accuracy", ""), rows) == (
        "  way      cells  accuracy\n"
        "  B           12       0.9  taken\n"
        "  unknown      3"
    )  # fmt: skip


FEW = "Cells are then ranked among few genes, unlike those that the model was trained on"


def test_each_warning_is_told_once(command, small_adata, checkpoint_folder, tmp_path):
    """Reference and query have the same to say; at the end, a paragraph is named by its start."""
    few = small_adata[:, :40].copy()
    few.write_h5ad(tmp_path / "few.h5ad")
    status, _, said = command(
        "annotate", tmp_path / "few.h5ad", "-r", tmp_path / "few.h5ad", "--label", "cell_type",
        "-o", tmp_path / "out.csv", "-m", checkpoint_folder, "--n-neighbors", 3,
    )  # fmt: skip
    assert status == 0
    assert said.count(FEW) == 1
    beginning = f"- The file has 40 of the 200 genes of the vocabulary {checkpoint_folder.name}"
    assert any(line.startswith(beginning) and line.endswith("genes. …")
               for line in said.splitlines())  # fmt: skip


def test_python_is_told_once_of_each_source(small_adata, checkpoint_folder, caplog):
    few = small_adata[:, :40].copy()
    with caplog.at_level(logging.WARNING, "rankformer"):
        rankformer.tl.annotate(
            few, reference=few.copy(), label="cell_type", model=checkpoint_folder, n_neighbors=3
        )
    assert caplog.text.count(FEW) == 2
