"""Reference and query ranked among the genes that both have: as if the files were cut to these."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import rankformer
from rankformer.annotate.cells import annotate_cells
from rankformer.annotate.prepared import ids_of
from rankformer.annotate.shared_genes import MeasuredGenes, share_genes
from rankformer.errors import SettingsError
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import opened_sources

# Variables 0 to 149 are genes: the reference has the first 120, the query those from 40 on.
OWN, THEIRS, BOTH = slice(0, 120), slice(40, 150), slice(40, 120)
WORDS = ("--n-neighbors", 1, "--dtype", "float32")


@pytest.fixture
def pair(small_adata, tmp_path):
    """A reference and a query of the same cells, of which each file has other genes."""
    small_adata[:, OWN].copy().write_h5ad(tmp_path / "reference.h5ad")
    query = small_adata[:12, THEIRS].copy()
    del query.obs["cell_type"]
    query.write_h5ad(tmp_path / "query.h5ad")
    small_adata[:, BOTH].copy().write_h5ad(tmp_path / "reference-cut.h5ad")
    cut = small_adata[:12, BOTH].copy()
    del cut.obs["cell_type"]
    cut.write_h5ad(tmp_path / "query-cut.h5ad")
    return tmp_path


def tokens_of(source, vocabulary, **options):
    cells = rankformer.tokenize_cells(source, vocabulary, ReadingOptions(**options))
    return [each["input_ids"] for each in cells.to_dataset()]


def annotate(command, folder, output, *words, reference="reference.h5ad", query="query.h5ad"):
    label = () if reference == "saved" else ("--label", "cell_type")
    status, _, said = command(
        "annotate", folder / query, "-r", folder / reference, *label, "-o", folder / output,
        *WORDS, *words,
    )  # fmt: skip
    assert status == 0, said
    return said


def test_tokens_are_those_of_files_that_were_cut(small_adata, vocabulary):
    only = frozenset(vocabulary.ensembl_ids[BOTH])
    found = tokens_of(small_adata, vocabulary, only_genes=only)
    assert found == tokens_of(small_adata[:, BOTH].copy(), vocabulary)
    assert found != tokens_of(small_adata, vocabulary)


def test_saved_tokens_are_not_cut(small_adata, vocabulary, tmp_path):
    rankformer.save_tokens(
        [rankformer.tokenize_cells(small_adata, vocabulary)], tmp_path / "tokens"
    )
    options = ReadingOptions(only_genes=frozenset(vocabulary.ensembl_ids[:9]))
    with (
        pytest.raises(SettingsError, match="holds tokens"),
        opened_sources(tmp_path / "tokens", vocabulary, options),
    ):
        pass


def test_labels_are_those_of_files_that_were_cut(command, pair, checkpoint_folder):
    model = ("--model", checkpoint_folder)
    said = annotate(command, pair, "found.csv", *model)
    assert "among the 80 genes that reference (120) and query (110) share" in said
    by_hand = ("--all-genes", *model)
    annotate(
        command, pair, "cut.csv", *by_hand, reference="reference-cut.h5ad", query="query-cut.h5ad"
    )
    annotate(command, pair, "all.csv", *by_hand)
    found, cut, unlike = (pd.read_csv(pair / f"{name}.csv") for name in ("found", "cut", "all"))
    pd.testing.assert_frame_equal(found, cut)
    distance = "predicted_cell_type_distance"
    # The cells of the query are in the reference: only as they are cut alike are they the same.
    assert found[distance].max() < unlike[distance].min()
    told = json.loads((pair / "found.csv.json").read_text())["predicted_cell_type"]["shared_genes"]
    reference, query = (ad.read_h5ad(pair / f"{name}.h5ad") for name in ("reference", "query"))
    assert told["n_shared"] == 80
    assert told["reference_counts_lost"] == pytest.approx(
        reference.X[:, :40].sum() / reference.X.sum(), abs=1e-4
    )
    assert told["query_counts_lost"] == pytest.approx(
        query.X[:, 80:].sum() / query.X.sum(), abs=1e-4
    )
    told = json.loads((pair / "all.csv.json").read_text())["predicted_cell_type"]["shared_genes"]
    assert "--all-genes" in told["why_not"]


def test_a_saved_reference_is_ranked_again_for_each_query(command, pair, checkpoint_folder):
    model = ("--model", checkpoint_folder)
    annotate(command, pair, "first.csv", *model, "--save-reference", pair / "saved")
    said = annotate(command, pair, "again.csv", *model, reference="saved")
    assert "embedded again" not in said
    first, again = (pd.read_csv(pair / f"{name}.csv") for name in ("first", "again"))
    pd.testing.assert_frame_equal(first, again)
    # A query with other genes.
    narrow = ad.read_h5ad(pair / "query.h5ad")[:, 50:]
    narrow.copy().write_h5ad(pair / "narrow.h5ad")
    said = annotate(command, pair, "saved.csv", *model, reference="saved", query="narrow.h5ad")
    assert "30 cells are embedded again" in said
    annotate(command, pair, "anew.csv", *model, query="narrow.h5ad")
    saved, anew = (pd.read_csv(pair / f"{name}.csv") for name in ("saved", "anew"))
    pd.testing.assert_frame_equal(saved, anew, atol=1e-6)
    # The folder is as it was, and serves a query with more genes again.
    annotate(command, pair, "third.csv", *model, reference="saved")
    pd.testing.assert_frame_equal(first, pd.read_csv(pair / "third.csv"))


def test_a_reference_without_counts_says_that_it_cannot_be_cut(
    command, pair, checkpoint_folder, vocabulary
):
    model = ("--model", checkpoint_folder)
    cells = ad.read_h5ad(pair / "reference.h5ad")
    options = ReadingOptions(attributes={"cell_type": "cell_type"})
    tokens = rankformer.tokenize_cells(cells, vocabulary, options)
    rankformer.save_tokens([tokens], pair / "tokens")
    said = annotate(
        command, pair, "x.csv", *model, "--save-reference", pair / "saved", reference="tokens"
    )
    assert "the reference is known as tokens alone" in said
    said = annotate(command, pair, "y.csv", *model, reference="saved")
    assert "holds no counts" in said


def test_shards_and_several_files_are_ranked_among_the_same_genes(command, pair, checkpoint_folder):
    query = ad.read_h5ad(pair / "query.h5ad")
    query[:6].copy().write_h5ad(pair / "a.h5ad")
    query[6:, 20:].copy().write_h5ad(pair / "b.h5ad")
    words = (
        "annotate", pair / "a.h5ad", pair / "b.h5ad", "-r", pair / "reference.h5ad", "--label",
        "cell_type", *WORDS, "--model", checkpoint_folder,
    )  # fmt: skip
    status, _, said = command(*words, "-o", pair / "whole.csv")
    assert status == 0, said
    assert "among the 60 genes" in said
    assert "b.h5ad has the fewest genes of the query" in said
    for share in ("1/2", "2/2"):
        status, _, said = command(*words, "-o", pair / "run", "--shard-cells", 4, "--shard", share)
        assert status == 0, said
    (pair / "reference.h5ad").unlink()
    assert command("merge", pair / "run", "-o", pair / "merged.csv")[0] == 0
    whole, merged = (pd.read_csv(pair / f"{name}.csv") for name in ("whole", "merged"))
    pd.testing.assert_frame_equal(whole, merged, atol=1e-5)
    # By hand: the genes of both files of the query and of the reference.
    cut = query[:, 20:80]
    embedder = rankformer.Embedder(checkpoint_folder, dtype="float32")
    reference = ad.read_h5ad(pair / "reference-cut.h5ad")[:, 20:].copy()
    small = annotate_cells(
        cut.copy(), rankformer.build_reference(reference, embedder, "cell_type"), embedder,
        {"cell_type": "kind"}, vote=rankformer.NeighbourVote(1),
    )  # fmt: skip
    np.testing.assert_allclose(
        whole["predicted_cell_type_distance"], small.labels["kind"].further["distance"], atol=1e-5
    )


def test_in_python_as_on_the_command_line(command, pair, checkpoint_folder):
    annotate(command, pair, "found.csv", "--model", checkpoint_folder)
    query, reference = (ad.read_h5ad(pair / f"{name}.h5ad") for name in ("query", "reference"))
    embedder = rankformer.Embedder(checkpoint_folder, dtype="float32")
    rankformer.tl.annotate(
        query, reference=reference, label="cell_type", model=embedder, n_neighbors=1
    )
    built = rankformer.build_reference(reference, embedder, "cell_type")
    ready = annotate_cells(query, built, embedder, {"cell_type": "kind"},
                           vote=rankformer.Labelling(n_neighbors=1))  # fmt: skip
    found = pd.read_csv(pair / "found.csv")["predicted_cell_type_distance"]
    np.testing.assert_allclose(query.obs["predicted_cell_type_distance"], found, atol=1e-6)
    np.testing.assert_allclose(ready.labels["kind"].further["distance"], found, atol=1e-6)


def measured(name, genes, counts):
    return MeasuredGenes(name, np.array(genes, np.int32), np.array(counts, float))


def test_what_is_shared_by_all_files_and_what_the_worst_of_them_loses():
    own = [measured("r", [3, 5, 7, 9], [1, 2, 3, 4])]
    theirs = [measured("a", [3, 5, 7, 8], [4, 4, 1, 1]), measured("b", [5, 7], [9, 1])]
    found = share_genes(own, theirs)
    assert found.genes.tolist() == [5, 7]
    assert found.told == {
        "n_shared": 2, "reference_n_genes": 4, "reference_counts_lost": 0.5,
        "reference_fewest_genes_in": "r", "reference_n_files": 1, "query_n_genes": 2,
        "query_counts_lost": 0.5, "query_fewest_genes_in": "b", "query_n_files": 2,
    }  # fmt: skip
    assert share_genes(own, [None]).genes is None
    with pytest.raises(SettingsError, match="No gene of the reference r was measured in c"):
        share_genes(own, [measured("c", [2, 4], [1, 1])])


def test_much_that_is_lost_is_a_warning(command, pair, checkpoint_folder):
    model = ("--model", checkpoint_folder)
    said = annotate(command, pair, "x.csv", *model)
    assert "- Cells are ranked among the 80 genes" in said
    assert "That is much" in said


def test_ids_are_those_of_the_tokens(vocabulary):
    tokens = vocabulary.tokens[[2, 5]]
    assert ids_of(vocabulary, tokens) == {vocabulary.ensembl_ids[2], vocabulary.ensembl_ids[5]}


def test_labels_of_the_query_are_not_looked_at(command, pair, checkpoint_folder):
    model = ("--model", checkpoint_folder)
    annotate(command, pair, "without.csv", *model)
    query = ad.read_h5ad(pair / "query.h5ad")
    query.obs["cell_type"] = ["B", "T", "B"] * 4
    query.write_h5ad(pair / "with.h5ad")
    annotate(command, pair, "with.csv", *model, query="with.h5ad")
    pd.testing.assert_frame_equal(pd.read_csv(pair / "without.csv"), pd.read_csv(pair / "with.csv"))


def test_a_damaged_count_of_a_saved_reference_is_found(command, pair, checkpoint_folder):
    model = ("--model", checkpoint_folder)
    annotate(command, pair, "first.csv", *model, "--save-reference", pair / "saved")
    file = pair / "saved" / "counts.parquet"
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 3] ^= 255
    file.write_bytes(bytes(whole))
    ad.read_h5ad(pair / "query.h5ad")[:, 50:].copy().write_h5ad(pair / "narrow.h5ad")
    status, _, said = command(
        "annotate", pair / "narrow.h5ad", "-r", pair / "saved", "-o", pair / "x.csv", *WORDS, *model
    )
    assert status == 2, said
    assert "Traceback" not in said
