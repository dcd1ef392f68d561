"""Reference and query mixed by Harmony before cells are named."""

import sys

import numpy as np
import pytest

import rankformer
from rankformer.annotate.harmony import expect_integration
from rankformer.annotate.integrating import mix_with_query
from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit
from rankformer.annotate.reference import Reference
from rankformer.errors import SettingsError


@pytest.fixture
def torn():
    """Three kinds in a reference, and the same moved by another way for each in a query."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 20)) * 2
    moves = rng.normal(size=20) + rng.normal(size=(3, 20)) * 0.3
    codes, asked = np.repeat(np.arange(3), 80), np.repeat(np.arange(3), [40, 30, 60])
    own = (centres[codes] + rng.normal(size=(240, 20))).astype(np.float32)
    theirs = (centres[asked] + 1.5 * moves[asked] + rng.normal(size=(130, 20))).astype(np.float32)
    scale_to_unit(own)
    scale_to_unit(theirs)
    classes = {"kind": ("a", "b", "c")}
    reference = Reference(NeighbourIndex.build(own), {"kind": codes.astype(np.int32)}, classes, {})
    return reference, theirs, asked


def share_of_query(reference, vectors):
    """Among the nearest cells of each of the query, of both."""
    both = np.concatenate([reference.index.vectors, vectors])
    rows = np.arange(len(reference), len(both))
    nearest, _ = NeighbourIndex.build(both).search_others(rows, 15)
    return (nearest >= len(reference)).mean()


def named(reference, vectors):
    nearest, _ = reference.index.search(vectors, 15)
    counts = [np.bincount(each, minlength=3) for each in reference.codes["kind"][nearest]]
    return np.argmax(counts, axis=1)


def test_harmony_mixes_reference_and_query_and_keeps_kinds(torn):
    pytest.importorskip("harmonypy")
    reference, vectors, codes = torn
    before, right = share_of_query(reference, vectors), (named(reference, vectors) == codes).mean()
    mixed = mix_with_query(reference, vectors, np.arange(len(vectors)))
    assert share_of_query(mixed, vectors) < before - 0.2
    assert (named(mixed, vectors) == codes).mean() >= right
    np.testing.assert_allclose(np.linalg.norm(mixed.index.vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_cells_without_a_vector_and_few_cells_stay_as_they_are(torn, caplog):
    pytest.importorskip("harmonypy")
    reference, vectors, _ = torn
    vectors[5] = np.nan
    cells = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    mix_with_query(reference, vectors, cells)
    assert np.isnan(vectors[5]).all()
    assert np.isfinite(vectors[cells]).all()
    few = vectors[cells][:20].copy()
    assert mix_with_query(reference, few.copy(), np.arange(20)) is reference
    assert "20 cells are too few" in caplog.text


def test_without_harmonypy_it_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "harmonypy", None)
    monkeypatch.setattr("rankformer.annotate.harmony.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="harmonypy is not installed"):
        expect_integration("harmony")
    with pytest.raises(SettingsError, match="harmonypy is not installed"):
        rankformer.annotate_cells(
            "query.h5ad", "reference", "model", {"kind": "k"},
            vote=rankformer.Labelling(integrate="harmony"),
        )  # fmt: skip


@pytest.mark.parametrize("n_cells", [31, 32, 33])
def test_as_many_cells_as_dimensions_stay_themselves(n_cells: int) -> None:
    """Harmony guesses by the shape which way round its points lie."""
    pytest.importorskip("harmonypy")
    from rankformer.annotate.harmony import integrate_harmony

    points = np.random.default_rng(0).normal(size=(n_cells, 32)).astype(np.float32)
    batches = np.array(["a", "b"] * n_cells, dtype=object)[:n_cells]
    mixed = integrate_harmony(points, batches, seed=0)
    lengths = np.linalg.norm(points, axis=1) * np.linalg.norm(mixed, axis=1)
    assert ((points * mixed).sum(axis=1) / lengths).mean() > 0.8
