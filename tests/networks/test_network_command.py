"""``rankformer network`` and `rankformer.tl.gene_network` from counts to pairs of genes."""

import json

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.conftest import save_small_checkpoint, small_counts, small_vocabulary

import rankformer
from rankformer.errors import SettingsError
from rankformer.networks.settings import NetworkSettings


@pytest.fixture(scope="module")
def vocabulary():
    return small_vocabulary(special=True)


@pytest.fixture
def folder(tmp_path, vocabulary):
    """A model, and 24 cells of two types and two stages."""
    save_small_checkpoint(tmp_path / "model", vocabulary)
    symbols = [vocabulary.symbol_of[gene] for gene in vocabulary.ensembl_ids]
    adata = ad.AnnData(small_counts(24, 60, seed=2, mean=1), var=pd.DataFrame(index=symbols[:60]))
    adata.obs_names = [f"cell{i}" for i in range(24)]
    adata.obs["cell_type"] = ["T", "B"] * 12
    adata.obs["stage"] = ["young"] * 16 + ["old"] * 8
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path


@pytest.fixture
def network(folder, command):
    def run(*words, output="out.parquet", cells="cells.h5ad"):
        status, _, said = command(
            "network", folder / cells, "-o", folder / output, "-m", folder / "model",
            "--device", "cpu", *words,
        )  # fmt: skip
        assert status == 0, said
        path = folder / output
        return pd.read_parquet(path) if output.endswith(".parquet") else nx.read_graphml(path), said

    return run


@pytest.mark.parametrize("by", ["perturbation", "attention", "similarity"])
def test_the_graph_holds_the_pairs_of_the_table(network, by):
    table, said = network("--by", by, "--min-cells", "8", "--top", "50")
    graph, _ = network("--by", by, "--min-cells", "8", "--top", "50", output="out.graphml")
    assert len(table) == 50
    assert f"50 of {json.loads(graph.graph['rankformer'])['n_pairs']:,} pairs" in said
    assert graph.is_directed() == (by != "similarity")
    assert graph.number_of_edges() == 50
    for row in table.to_dict("records"):
        edge = graph.edges[row["source_ensembl_id"], row["target_ensembl_id"]]
        for name in ("n_cells", "effect", "low", "high", "excess", "place", "p_value", "q_value"):
            assert edge[name] == pytest.approx(row[name]), name
        assert graph.nodes[row["source_ensembl_id"]]["symbol"] == row["source"]
    assert (table["n_cells"] >= 8).all()
    assert table["p_value"].is_monotonic_increasing


def test_cells_and_genes_are_chosen(network, folder):
    table, said = network("--min-cells", "3", "--where", "cell_type=T", "--where", "stage=old",
                          "--genes", "G3,G7,ALIAS9", "--top", "0")  # fmt: skip
    assert "4 cells" in said
    assert set(table["source"]) <= {"G3", "G7", "G9"}
    assert table["n_cells"].max() <= 4
    metadata = json.loads(pq.read_schema(folder / "out.parquet").metadata[b"rankformer"])
    assert metadata["n_cells"] == 4
    assert metadata["n_pairs"] == len(table)
    assert metadata["network"]["by"] == "perturbation"
    without, _ = network("--min-cells", "3", "--genes", "G3,G7,G9", "--top", "0", "--by",
                         "similarity", output="same.parquet")  # fmt: skip
    has_named = without["source"].isin({"G3", "G7", "G9"}) | without["target"].isin(
        {"G3", "G7", "G9"}
    )
    assert has_named.all()


@pytest.mark.parametrize("values", [[1.0, 0.0, np.nan], ["1", "nan", None]])
def test_values_are_named_as_labels_are_everywhere(network, folder, values):
    """Whole numbers without a point, as a missing value makes floats of them; none is no value."""
    adata = ad.read_h5ad(folder / "cells.h5ad")
    adata.obs["cluster"] = pd.Series(values * 8, index=adata.obs_names)
    adata.write_h5ad(folder / "cells.h5ad")
    _, said = network("--by", "similarity", "--min-cells", "2", "--where", "cluster=1")
    assert "measured in 8 cells" in said
    if values[1] == "nan":
        _, said = network("--by", "similarity", "--min-cells", "2", "--where", "cluster=nan",
                          "--overwrite")  # fmt: skip
        assert "measured in 8 cells" in said


def test_saved_tokens_give_the_same_pairs_without_counts(network, folder, command):
    status, _, said = command("tokenize", folder / "cells.h5ad", "-o", folder / "tokens", "-m",
                              folder / "model", "--attribute", "cell_type")  # fmt: skip
    assert status == 0, said
    words = ("--by", "attention", "--where", "cell_type=B", "--min-cells", "5", "--top", "0")
    table, _ = network(*words)
    saved, said = network(*words, cells="tokens", output="saved.parquet")
    assert "Saved tokens hold no counts" in said
    pd.testing.assert_frame_equal(saved, table.drop(columns="coexpression"))


def test_known_pairs_are_judged_with_the_baseline(network, folder):
    all_pairs, _ = network("--by", "similarity", "--min-cells", "5", "--top", "0")
    a, b, c, d = pd.unique(all_pairs[["source", "target"]].to_numpy().ravel())[:4]
    (folder / "pairs.tsv").write_text(f"{a}\t{b}\n{a}\t{d}\n{c}\t{d}\n{c}\tNOGENE\n")
    words = ("--min-cells", "5", "--top", "0", "--overwrite")
    table, said = network("--known", folder / "pairs.tsv", *words)
    assert "3 of 4 known pairs" in said
    curves = pd.read_csv(folder / "out.known.csv")
    known = table[table["known"]]
    pairs = set(map(tuple, known[["source", "target"]].to_numpy()))
    assert pairs <= {(a, b), (a, d), (c, d)}
    assert set(curves["score"]) == {"place", "effect", "coexpression"}
    assert curves.groupby("score")["recall"].max().eq(1).all()
    assert "average_precision" in said


@pytest.mark.parametrize("output", ["pairs.graphml", "own.parquet"])
def test_files_that_were_not_asked_about_are_left(network, folder, command, output):
    """Known pairs are not written over, nor is a file that only bears the name of curves."""
    pairs = folder / "pairs.known.csv"
    pairs.write_text("G1,G2\nG3,G4\n")
    words = ("--by", "similarity", "--min-cells", "5", "--overwrite")
    if output == "own.parquet":
        (folder / "own.known.csv").write_text("mine")
        network(*words, output=output)
        assert (folder / "own.known.csv").read_text() == "mine"
        return
    status, _, said = command("network", folder / "cells.h5ad", "-o", folder / output, "-m",
                              folder / "model", "--known", pairs, *words)  # fmt: skip
    assert status == 2
    assert "which would be written" in said
    assert pairs.read_text() == "G1,G2\nG3,G4\n"


def test_the_tool_of_anndata_gives_the_table_of_the_command(network, folder):
    table, _ = network("--by", "attention", "--attention-layer", "1", "--attention-layer", "2",
                       "--head", "1", "--min-cells", "8")  # fmt: skip
    adata = ad.read_h5ad(folder / "cells.h5ad")
    known = [(a, b) for a, b, _ in zip(table["source"], table["target"], range(3), strict=False)]
    rankformer.tl.gene_network(
        adata, model=str(folder / "model"), by="attention", layers=(1, 2), heads=(1,), min_cells=8,
        device="cpu", known=known,
    )  # fmt: skip
    own = adata.uns["gene_network"].drop(columns="known")
    pd.testing.assert_frame_equal(own.reset_index(drop=True), table, check_dtype=False)
    assert adata.uns["gene_network_known"]["n_known"].iloc[0] == 3
    assert adata.uns["rankformer"]["gene_network"]["n_cells"] == 24
    adata.write_h5ad(folder / "with.h5ad")
    again = ad.read_h5ad(folder / "with.h5ad").uns["gene_network"]
    np.testing.assert_allclose(again["effect"], own["effect"])


def test_drawn_cells_are_decided_by_the_seed(network):
    first, _ = network("--by", "similarity", "--n-cells", "12", "--min-cells", "4")
    again, _ = network("--by", "similarity", "--n-cells", "12", "--min-cells", "4",
                       output="again.parquet")  # fmt: skip
    other, _ = network("--by", "similarity", "--n-cells", "12", "--min-cells", "4", "--seed", "1",
                       output="other.parquet")  # fmt: skip
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"min_cells": "5"}, "min_cells is '5'"),
        ({"n_cells": 10.5}, r"n_cells is 10\.5"),
        ({"top": -1}, "top is -1"),
        ({"by": "attention", "heads": [0.5]}, r"heads is \[0\.5\]"),
        ({"by": "attention", "share": 0.5}, r"share is 0\.5, and the network is made by attention"),
        ({"by": "rank"}, "made by 'rank'"),
        ({"share": 7}, "share of ranks is 7"),
    ],
)
def test_settings_that_mean_nothing(settings, said):
    with pytest.raises(SettingsError, match=said):
        NetworkSettings(**settings)
    assert NetworkSettings(by="attention", layers=2, heads=0).layers == (2,)
