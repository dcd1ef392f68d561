"""Tables of labels fit a terminal of 80 columns, and lose nothing by it."""

from hypothesis import given
from hypothesis import strategies as st

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
