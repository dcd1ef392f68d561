"""Label transfer: votes as a plain loop counts them, unknowns where a kind is missing, files."""

import json
import logging
import shutil
from dataclasses import asdict

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from tests.conftest import shared_path

import rankformer
from rankformer.annotate.cells import annotate_cells
from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit
from rankformer.annotate.reference import Reference
from rankformer.annotate.settings import NeighbourVote
from rankformer.annotate.vote import (
    count_votes,
    expect_enough_cells,
    own_distances,
    transfer_labels,
)
from rankformer.errors import CheckpointError, SettingsError
from rankformer.tokens.reading_options import ReadingOptions

# Labels of ifnb → those of pbmc3k that name the same cells.
SAME = {
    "CD14 Mono": "CD14+ Monocytes",
    "CD16 Mono": "FCGR3A+ Monocytes",
    "CD4 Naive T": "CD4 T cells",
    "CD4 Memory T": "CD4 T cells",
    "CD8 T": "CD8 T cells",
    "B": "B cells",
}


def test_votes_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (20, 7)).astype(np.int32)
    distances = np.sort(rng.uniform(0, 1, (20, 7)), axis=1).astype(np.float32)
    distances[0] = 0
    found = count_votes(codes, distances, 4)
    for cell in range(20):
        votes = dict.fromkeys(range(4), 0.0)
        for code, distance in zip(codes[cell], distances[cell], strict=True):
            farthest = float(distances[cell, -1])
            votes[code] += np.exp(-((distance / farthest) ** 2)) if farthest else 1.0
        expected = [votes[code] / sum(votes.values()) for code in range(4)]
        np.testing.assert_allclose(found[cell], expected, rtol=1e-5)


def test_no_share_of_a_unanimous_vote_is_above_one():
    """`rankformer evaluate` reads shares as probabilities."""
    rng = np.random.default_rng(0)
    distances = np.sort(rng.uniform(0, 1, (2000, 15)), axis=1).astype(np.float32)
    shares = count_votes(np.ones((2000, 15), np.int32), distances, 3)
    assert (shares[:, 1] == 1).all()
    assert not shares[:, [0, 2]].any()


def clouds(centres, n_each, rng, width=0.3):
    vectors = np.concatenate([c + width * rng.normal(size=(n_each, len(c))) for c in centres])
    vectors = vectors.astype(np.float32)
    scale_to_unit(vectors)
    return vectors


def reference_of(vectors, labels):
    classes, codes = np.unique(labels, return_inverse=True)
    return Reference(
        NeighbourIndex.build(vectors), {"kind": codes.astype(np.int32)},
        {"kind": tuple(classes.tolist())}, {},
    )  # fmt: skip


def transfer(reference, vectors, **vote):
    missing = np.full(len(vectors), None, dtype=object)
    vote = NeighbourVote(**vote)
    return transfer_labels(vectors.copy(), missing, reference, {"kind": "kind"}, vote)["kind"]


def test_limits_are_quantiles_of_distances_each_cell_left_out():
    rng = np.random.default_rng(1)
    vectors = clouds(np.eye(6)[:2], 60, rng)
    reference = reference_of(vectors, ["a"] * 60 + ["b"] * 60)
    middle, limit = own_distances(reference, "kind", NeighbourVote(n_neighbors=5))
    between = 1 - vectors.astype(float) @ vectors.T.astype(float)
    np.fill_diagonal(between, np.inf)
    mean = np.sort(between, axis=1)[:, :5].mean(axis=1)
    np.testing.assert_allclose(middle, [np.median(mean[:60]), np.median(mean[60:])], rtol=1e-4)
    np.testing.assert_allclose(
        limit, [np.quantile(mean[:60], 0.95), np.quantile(mean[60:], 0.95)], rtol=1e-4
    )


def test_a_kind_that_the_reference_has_not_is_unknown_and_the_others_are_named():
    rng = np.random.default_rng(2)
    reference = reference_of(clouds(np.eye(8)[:3], 100, rng), np.repeat(["a", "b", "c"], 100))
    query = clouds(np.eye(8)[:4], 50, rng)
    found = transfer(reference, query)
    known, absent = slice(0, 150), slice(150, 200)
    assert (found.values[absent] == "unknown").mean() > 0.9
    assert (found.values[known] == "unknown").mean() < 0.15
    assert (found.further["best"][known] == np.repeat(["a", "b", "c"], 50)).mean() > 0.95
    np.testing.assert_array_equal(found.uncertain, found.values == "unknown")
    assert set(found.further["why"][found.uncertain]) <= {
        "far from the reference",
        "votes are divided",
        "far from the reference, and votes are divided",
    }


def test_the_log_counts_unknown_cells_by_the_reason(caplog):
    caplog.set_level(logging.INFO, "rankformer")
    rng = np.random.default_rng(3)
    reference = reference_of(clouds(np.eye(8)[:3], 60, rng, 0.6), np.repeat(["a", "b", "c"], 60))
    query = np.concatenate([clouds(np.eye(8)[:4], 40, rng, width) for width in (0.3, 0.9)])
    vote = {"min_share": 0.8, "distance_quantile": 0.6, "allow_shift": False}
    found = transfer(reference, query, **vote)
    why = pd.Series(found.further["why"]).value_counts()
    far, divided, both = (
        why[each] for each in (
            "far from the reference", "votes are divided",
            "far from the reference, and votes are divided",
        )
    )  # fmt: skip
    assert min(far, divided, both) > 0
    assert len({far, divided, both}) == 3
    assert caplog.messages[-1] == (
        f"kind: {far + divided + both} of {len(query)} cells are called unknown: {far + both} lie "
        f"far from the reference, {divided + both} have no clear vote. Several reasons may hold "
        "for a cell."
    )
    assert found.provenance["label"] == "kind"
    assert found.provenance["vote"] == asdict(NeighbourVote(**vote))


def test_a_cell_without_a_vector_gets_no_label_and_no_doubt():
    rng = np.random.default_rng(5)
    reference = reference_of(clouds(np.eye(4)[:2], 30, rng), np.repeat(["a", "b"], 30))
    query = clouds(np.eye(4)[:3], 10, rng)
    missing = np.full(30, None, dtype=object)
    missing[[3, 25]] = "no counts"
    vote = NeighbourVote(5)
    found = transfer_labels(query, missing, reference, {"kind": "kind"}, vote)["kind"]
    assert found.uncertain[20:25].all()
    assert not found.uncertain[[3, 25]].any()
    assert np.isnan(found.probability[[3, 25]]).all()
    assert [found.values[i] for i in (3, 25)] == [None, None]


@pytest.mark.parametrize("name", ["min_share", "distance_quantile"])
def test_shares_of_a_vote_have_bounds(name):
    for value in (0, 1):
        NeighbourVote(**{name: value})
    for value in (-0.01, 1.01):
        with pytest.raises(SettingsError, match=f"Correct {name} \\(--{name.replace('_', '-')}\\)"):
            NeighbourVote(**{name: value})


def test_a_reference_has_a_cell_more_than_there_are_neighbours():
    rng = np.random.default_rng(4)
    reference = reference_of(clouds(np.eye(3)[:1], 6, rng), ["a"] * 6)
    expect_enough_cells(reference, NeighbourVote(n_neighbors=5))
    with pytest.raises(SettingsError, match="of at most 5"):
        expect_enough_cells(reference, NeighbourVote(n_neighbors=6))


def test_a_query_that_lies_farther_off_as_a_whole_is_named_only_with_a_shift(caplog):
    rng = np.random.default_rng(3)
    narrow = clouds(np.eye(8)[:3], 100, rng, width=0.1)
    reference = reference_of(narrow, np.repeat(["a", "b", "c"], 100))
    query = clouds(np.eye(8)[:3] + 0.6 * np.eye(8)[6], 50, rng, width=0.1)
    moved, strict = transfer(reference, query), transfer(reference, query, allow_shift=False)
    assert strict.provenance["shift"] == 0
    assert moved.provenance["shift"] > 0
    assert moved.uncertain.mean() < 0.3 < 0.6 < strict.uncertain.mean()
    (warned,) = (each for each in caplog.records if each.levelno == logging.WARNING)
    assert "--no-shift" in warned.getMessage()


def test_a_query_nearer_than_the_reference_itself_keeps_its_limits():
    """A narrow query in a wide reference: that it lies near must not make its few strays far."""
    rng = np.random.default_rng(5)
    wide = clouds(np.eye(8)[:2], 200, rng, width=0.3)
    reference = reference_of(wide, np.repeat(["a", "b"], 200))
    near = np.repeat(np.eye(8)[:2], 50, axis=0) + 0.02 * rng.normal(size=(100, 8))
    strays = clouds(np.eye(8)[:2], 15, rng, width=0.25)
    query = np.concatenate([near, strays]).astype(np.float32)
    scale_to_unit(query)
    moved, strict = transfer(reference, query), transfer(reference, query, allow_shift=False)
    assert moved.provenance["shift"] == 0
    np.testing.assert_array_equal(moved.uncertain, strict.uncertain)
    assert (moved.values[100:] != "unknown").mean() > 0.8


def test_cells_of_the_reference_that_are_called_unknown_teach_nothing(
    command, small_adata, checkpoint_folder, tmp_path
):
    reference = small_adata.copy()
    reference.obs["cell_type"] = reference.obs["cell_type"].astype(object)
    reference.obs.iloc[:5, 0] = "unknown"
    reference.write_h5ad(tmp_path / "reference.h5ad")
    small_adata[:10].copy().write_h5ad(tmp_path / "query.h5ad")
    status, _, said = command(
        "annotate", tmp_path / "query.h5ad", "--reference", tmp_path / "reference.h5ad",
        "--label", "cell_type", "-o", tmp_path / "out.csv", "--model", checkpoint_folder,
        "--n-neighbors", 1,
    )  # fmt: skip
    assert status == 0, said
    assert "5 of 30 cells of the reference lack cell_type" in said
    # Each of the first five cells is its own twin in the reference, where it has no name.
    found = pd.read_csv(tmp_path / "out.csv")
    assert set(found["predicted_cell_type_best"]) <= {"B", "T"}
    provenance = json.loads((tmp_path / "out.csv.json").read_text())["predicted_cell_type"]
    assert provenance["reference_classes"] == ["B", "T"]
    assert provenance["reference_cells"] == 25


def test_divided_votes_are_unknown_below_the_share_asked_for():
    rng = np.random.default_rng(4)
    vectors = clouds(np.eye(8)[:1], 200, rng)
    reference = reference_of(vectors, np.tile(["a", "b"], 100))
    query = clouds(np.eye(8)[:1], 60, rng)
    lenient = transfer(reference, query, distance_quantile=1, min_share=0)
    strict = transfer(reference, query, distance_quantile=1, min_share=0.9)
    near = np.array([not str(why).startswith("far") for why in lenient.further["why"]])
    np.testing.assert_array_equal(
        (strict.values == "unknown")[near], (lenient.probability < 0.9)[near]
    )
    np.testing.assert_array_equal(strict.further["best"], lenient.further["best"])
    divided = np.flatnonzero(near)[np.argmin(lenient.probability[near])]
    just = float(lenient.probability[divided])
    enough = transfer(reference, query, distance_quantile=1, min_share=just)
    assert enough.values[divided] == lenient.values[divided] != "unknown"


@pytest.fixture
def pair(checkpoint_folder, small_adata, tmp_path):
    """Two files of one kind of cells: a reference, of whose cells one has no label, and a query."""
    query = small_adata[:10].copy()
    del query.obs["cell_type"]
    counts = query.X.toarray()
    counts[4] = 0
    query.X = counts
    reference = small_adata.copy()
    reference.obs["cell_type"] = reference.obs["cell_type"].astype(object)
    reference.obs.iloc[29, 0] = np.nan
    reference.obs["donor"] = np.arange(30) % 3
    reference.write_h5ad(tmp_path / "reference.h5ad")
    query.write_h5ad(tmp_path / "query.h5ad")
    return tmp_path / "query.h5ad", tmp_path / "reference.h5ad"


def test_a_file_is_annotated_and_the_reference_used_again(
    command, pair, checkpoint_folder, tmp_path
):
    query, reference = pair
    model = ("--model", checkpoint_folder, "--dtype", "float32", "--n-neighbors", 3)
    status, _, said = command(
        "annotate", query, "--reference", reference, "--label", "cell_type", "--label", "donor",
        "-o", tmp_path / "out.h5ad", "--save-reference", tmp_path / "saved", *model,
    )  # fmt: skip
    assert status == 0, said
    assert "1 of 30 cells of the reference lack cell_type or donor" in said
    assert "of 10 cells are called unknown" in said
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    # The query's cells are in the reference: each is its own nearest neighbour.
    nearest = found.obs["predicted_cell_type_distance"]
    assert nearest.isna().tolist() == [i == 4 for i in range(10)]
    assert found.obs["predicted_cell_type_missing"].iloc[4].startswith("no counts")
    assert set(found.obs["predicted_donor_best"].dropna()) <= {"0", "1", "2"}
    assert found.X.shape == (10, 170)

    status, _, said = command(
        "annotate", query, "--reference", tmp_path / "saved", "-o", tmp_path / "out.csv", *model
    )
    assert status == 0, said
    again = pd.read_csv(tmp_path / "out.csv", dtype={"predicted_donor_best": str})
    for name in ("predicted_cell_type", "predicted_donor_best"):
        assert again[name].fillna("").tolist() == found.obs[name].astype(object).fillna("").tolist()
    np.testing.assert_allclose(
        again["predicted_cell_type_probability"], found.obs["predicted_cell_type_probability"],
        rtol=1e-5,
    )  # fmt: skip
    said = json.loads((tmp_path / "out.csv.json").read_text())["predicted_cell_type"]
    assert said["reference_cells"] == 29
    assert said["weights_sha256"] == said["reference"]["weights_sha256"]


def test_a_query_is_embedded_in_the_dtype_of_its_reference(
    command, pair, checkpoint_folder, tmp_path, caplog
):
    """Whatever "auto" would take on this machine."""
    query, reference = pair
    model = ("--model", checkpoint_folder, "--n-neighbors", 3)
    status, _, said = command(
        "annotate", query, "--reference", reference, "--label", "cell_type", "-o",
        tmp_path / "out.csv", "--save-reference", tmp_path / "saved", "--dtype", "bfloat16", *model,
    )  # fmt: skip
    assert status == 0, said
    for dtype in ("auto", "bfloat16"):
        output = tmp_path / f"{dtype}.csv"
        status, _, said = command(
            "annotate", query, "--reference", tmp_path / "saved", "-o", output, "--dtype", dtype,
            *model,
        )  # fmt: skip
        assert status == 0, said
        provenance = json.loads((tmp_path / f"{dtype}.csv.json").read_text())
        assert provenance["predicted_cell_type"]["dtype"] == "bfloat16"
        assert output.read_text() == (tmp_path / "out.csv").read_text()
    status, _, said = command(
        "annotate", query, "--reference", tmp_path / "saved", "-o", tmp_path / "other.csv",
        "--dtype", "float32", *model,
    )  # fmt: skip
    assert status == 2
    assert "dtype bfloat16" in said
    assert "Give the --dtype of the reference" in said


def test_cells_are_annotated_by_the_name_of_a_model_in_the_dtype_of_the_reference(
    pair, checkpoint_folder, tmp_path
):
    query, reference = pair
    embedder = rankformer.Embedder(checkpoint_folder, dtype="bfloat16")
    built = rankformer.build_reference(reference, embedder, "cell_type")
    keys, vote = {"cell_type": "kind"}, NeighbourVote(3)
    expected = annotate_cells(query, built, embedder, keys, vote=vote)
    adata, done = ad.read_h5ad(query), []
    adata.layers["counts"] = adata.X
    adata.X = adata.X[::-1]
    found = annotate_cells(
        adata, built, checkpoint_folder, keys,
        vote=vote, options=ReadingOptions(layer="counts"), progress=done.append,
    )  # fmt: skip
    assert found.provenance["dtype"] == "bfloat16"
    assert found.labels["kind"].values.tolist() == expected.labels["kind"].values.tolist()
    assert found.obs.index.tolist() == adata.obs_names.tolist()
    assert sum(done) == adata.n_obs
    with pytest.raises(CheckpointError, match="mode"):
        annotate_cells(query, built, embedder, keys, vote=vote, mode="cls")
    rankformer.save_reference(built, tmp_path / "saved")
    found = annotate_cells(query, tmp_path / "saved", checkpoint_folder, keys)
    assert found.labels["kind"].provenance["vote"]["n_neighbors"] == 15


def test_vectors_of_cls_are_compared_with_their_own_kind(pair, checkpoint_folder, vocabulary):
    if vocabulary.cls_token is None:
        pytest.skip("the vocabulary has no <cls>")
    query, reference = pair
    built = rankformer.build_reference(reference, checkpoint_folder, "cell_type", mode="cls")
    found = annotate_cells(
        query, built, checkpoint_folder, {"cell_type": "kind"}, mode="cls", vote=NeighbourVote(3)
    )
    # Each cell of the query is in the reference: the nearest is itself, but for rounding.
    distance = found.labels["kind"].further["distance"]
    by_itself = rankformer.embed_cells(query, checkpoint_folder, mode="cls")
    assert found.provenance["mode"] == by_itself.provenance["mode"] == "cls"
    vectors = scale_to_unit_copy(by_itself.vectors)
    _, expected = built.index.search(vectors[[0, 1, 2]], 3)
    np.testing.assert_allclose(distance[:3], expected.mean(axis=1), atol=1e-5)


def scale_to_unit_copy(vectors):
    copied = vectors.copy()
    scale_to_unit(copied)
    return copied


def test_in_scanpys_manner_as_on_the_command_line(pair, checkpoint_folder, tmp_path):
    query, reference = (ad.read_h5ad(each) for each in pair)
    settings = {"model": checkpoint_folder, "dtype": "float32", "n_neighbors": 3}
    copied = rankformer.tl.annotate(
        query, reference=reference, label="cell_type", key_added="kind", copy=True, **settings
    )
    assert "kind" not in query.obs
    embedder = rankformer.Embedder(rankformer.Checkpoint.open(checkpoint_folder), dtype="float32")
    built = rankformer.build_reference([reference], embedder, ["cell_type"])
    rankformer.save_reference(built, tmp_path / "saved")
    rankformer.tl.annotate(query, reference=tmp_path / "saved", **settings)
    assert query.obs["predicted_cell_type"].tolist()[:4] == copied.obs["kind"].tolist()[:4]
    opened = rankformer.open_reference(tmp_path / "saved")
    assert isinstance(opened.index.vectors, np.memmap)
    np.testing.assert_array_equal(opened.index.vectors, built.index.vectors)
    np.testing.assert_array_equal(opened.codes["cell_type"], built.codes["cell_type"])
    expected = reference.obs["cell_type"].tolist()[:29]
    named = np.array(opened.classes["cell_type"])[opened.codes["cell_type"]]
    assert named.tolist() == expected


def test_a_saved_graph_finds_what_it_found_before(tmp_path):
    rng = np.random.default_rng(5)
    vectors = clouds(np.eye(8)[:3], 400, rng)
    index = NeighbourIndex.build(vectors, exact_up_to=100)
    codes = np.repeat(np.arange(3, dtype=np.int32), 400)
    reference = Reference(index, {"kind": codes}, {"kind": ("a", "b", "c")}, {"model": "small"})
    rankformer.save_reference(reference, tmp_path / "saved")
    # A copy elsewhere is as good as the original.
    shutil.move(tmp_path / "saved", tmp_path / "moved")
    opened = rankformer.open_reference(tmp_path / "moved")
    assert opened.index.graph is not None
    for before, after in zip(index.search(vectors[:50], 9), opened.index.search(vectors[:50], 9),
                             strict=True):  # fmt: skip
        np.testing.assert_array_equal(after, before)


def test_blood_cells_of_another_laboratory_get_their_labels():
    pbmc = ad.read_h5ad(shared_path("cells", "pbmc3k.h5ad"))[::9].copy()
    ifnb = ad.read_h5ad(shared_path("cells", "ifnb.h5ad"))
    ifnb = ifnb[(ifnb.obs["stim"] == "CTRL").to_numpy()][::4].copy()
    rankformer.tl.annotate(
        ifnb, reference=pbmc, label="cell_type", unlabelled=["unassigned"],
        model="rankformer-mini", dtype="float32", gene_ids="ensembl_id",
    )  # fmt: skip
    truth = ifnb.obs["cell_type"].map(SAME).to_numpy(str)
    best = ifnb.obs["predicted_cell_type_best"].to_numpy(str)
    assert "unassigned" not in best
    majority = max(np.mean(truth == each) for each in set(truth))
    assert np.mean(best == truth) > majority + 0.25


def test_a_cell_line_that_the_reference_has_not_comes_out_unknown(caplog):
    cells = ad.read_h5ad(shared_path("cells", "sc_mixology.h5ad"))
    cells = cells[(cells.obs["demuxlet_cls"] == "SNG").to_numpy()]
    batch = cells.obs["batch"].to_numpy(str)
    query = cells[batch == "sc_celseq2_5cl_p1"][::3].copy()
    reference = cells[(batch == "sc_celseq2_5cl_p2") & (cells.obs["cell_line"] != "HCC827")].copy()
    with caplog.at_level(logging.INFO):
        rankformer.tl.annotate(
            query, reference=reference, label="cell_line", model="rankformer-mini", dtype="float32"
        )
    absent = (query.obs["cell_line"] == "HCC827").to_numpy()
    unknown = query.obs["predicted_cell_line_uncertain"].to_numpy(bool)
    assert unknown[absent].mean() > 0.8
    assert unknown[~absent].mean() < 0.3
    assert "cells are called unknown" in caplog.text
    named = ~absent & ~unknown
    right = query.obs["predicted_cell_line"].astype(str) == query.obs["cell_line"].astype(str)
    assert right[named].mean() > 0.95
