"""Vectors that are alike in all cells are told."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

import rankformer
from rankformer.embed.likeness import tell_alike

TOLD = "The vectors of these cells hardly differ"


def cells_around(middle, spread, n_cells=100):
    rng = np.random.default_rng(0)
    return (middle + spread * rng.normal(size=(n_cells, 16))).astype(np.float32)


@pytest.mark.parametrize(("spread", "is_told"), [(0.002, True), (0.02, False), (1.0, False)])
def test_the_mean_cosine_of_all_pairs_decides(caplog, spread, is_told):
    vectors = cells_around(np.ones(16), spread)
    vectors[7] = np.nan
    tell_alike(vectors)
    assert (TOLD in caplog.text) == is_told
    cosine = 1 - pdist(np.delete(vectors, 7, axis=0).astype(float), "cosine").mean()
    assert (cosine > 0.9999) == is_told
    if is_told:
        assert f"{cosine:.6f}" in caplog.text


def test_of_many_cells_some_from_all_over_are_looked_at(caplog):
    """The first 2,000 are alike, as in a sorted file; the others are not, or are as well."""
    alike = cells_around(np.ones(16), 0.0, n_cells=2_000)
    tell_alike(np.concatenate([alike, cells_around(np.ones(16), 1.0, n_cells=2_000)]))
    assert not caplog.text
    tell_alike(np.concatenate([alike, alike]))
    assert TOLD in caplog.text


def test_few_cells_may_be_alike(caplog):
    tell_alike(cells_around(np.ones(16), 0.0, n_cells=19))
    tell_alike(np.full((30, 16), np.nan, np.float32))
    tell_alike(np.empty((0, 16), np.float32))
    assert not caplog.text


@pytest.mark.parametrize(("mode", "is_told"), [("cell", False), ("cls", True)])
def test_the_cls_of_the_model_that_ships_is_told_and_its_mean_is_not(caplog, mode, is_told):
    cells = rankformer.datasets.blood_cells()[:60].copy()
    rankformer.tl.embed(cells, model="rankformer-mini", mode=mode)
    assert (TOLD in caplog.text) == is_told


@pytest.mark.parametrize(("mode", "is_told"), [("cell", False), ("cls", True)])
def test_the_command_tells_it(command, tmp_path, mode, is_told):
    rankformer.datasets.blood_cells()[:60].write_h5ad(tmp_path / "cells.h5ad")
    status, _, said = command(
        "embed", tmp_path / "cells.h5ad", "-o", tmp_path / "embedded.h5ad",
        "--model", "rankformer-mini", "--mode", mode,
    )  # fmt: skip
    assert status == 0, said
    assert (TOLD in " ".join(said.split())) == is_told


def test_annotation_tells_it_once(caplog):
    cells = rankformer.datasets.blood_cells()[:60].copy()
    rankformer.tl.annotate(cells, reference="blood", model="rankformer-mini", mode="cls")
    assert caplog.text.count(TOLD) == 1


def test_the_interface_of_helical_tells_it_too(caplog):
    cells = rankformer.datasets.blood_cells()[:60].copy()
    settings = rankformer.GeneformerConfig(model_name="rankformer-mini", emb_mode="cls")
    geneformer = rankformer.Geneformer(settings)
    geneformer.get_embeddings(geneformer.process_data(cells))
    assert TOLD in caplog.text
