"""Marker genes as a check of labels."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tests.annotate.test_ways import KINDS, counts_of

from rankformer.annotate.markers import as_lists, check_markers, marker_lines, rows_of
from rankformer.cells.normalise import log_normalise

NAMES = [f"gene{i}" for i in range(150)]


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(4), [60, 50, 40, 30]).astype(np.int32)
    values = log_normalise(counts_of(codes, rng))
    others = np.repeat(np.arange(4), [20, 30, 20, 30]).astype(np.int32)
    return (values, codes), (log_normalise(counts_of(others, rng)), others)


def test_markers_are_the_genes_that_a_kind_has_and_tell_its_cells(cells):
    learned, given = cells
    checks = check_markers(learned, given, KINDS, NAMES)
    assert [each.label for each in checks] == list(KINDS)
    for code, each in enumerate(checks):
        # Each kind was made with 12 genes of its own.
        own = {f"gene{i}" for i in range(12 * code, 12 * code + 12)}
        assert len(each.genes) == 10
        assert set(each.genes) <= own
        columns = [int(gene[4:]) for gene in each.genes]
        values = given[0][:, columns].toarray().mean(axis=1)
        assert each.in_query == pytest.approx(roc_auc_score(given[1] == code, values))
        assert each.in_query > 0.9
        assert not each.fails
    assert marker_lines(checks) == []


def test_cells_that_were_wrongly_named_do_not_show_the_markers(cells):
    learned, (values, codes) = cells
    # Cells of d are called a, and those that are unknown are not among the others.
    said = np.where(codes == 3, 0, np.where(codes == 0, -1, codes)).astype(np.int32)
    checks = check_markers(learned, (values, said), KINDS, NAMES)
    assert [(each.label, each.fails) for each in checks] == [
        ("a", True), ("b", False), ("c", False),
    ]  # fmt: skip
    (line,) = marker_lines(checks)
    assert line.startswith("Cells named a hardly show its marker genes (gene")
    assert f"of {checks[0].in_query:.2f} here" in line


def test_few_cells_are_not_checked(cells):
    learned, (values, codes) = cells
    said = np.where(np.arange(100) < 3, 0, np.maximum(codes, 1)).astype(np.int32)
    checks = check_markers(learned, (values, said), KINDS, NAMES)
    assert checks[0].in_query is None
    assert not checks[0].fails
    lists = as_lists(checks)
    assert lists["not_checked"] == ["a"]
    assert [row["label"] for row in rows_of(lists)] == ["b", "c", "d"]
    assert all(row["auroc_in_query"] > 0.9 for row in rows_of(lists)[1:])
