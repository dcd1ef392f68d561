"""Which genes' embeddings differ between states: planted, permuted, and real."""

from contextlib import closing

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from tests.conftest import shared_path, small_counts
from tests.perturb.test_interferon import RESPONSE

import rankformer
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.networks.gene_shift import compare_states
from rankformer.networks.settings import ShiftSettings
from rankformer.tokens.tokenize import open_tokens, tokenize_cells


def shift(adata, embedder, **settings):
    defaults = {"state": "cell_type", "start": "B", "goal": "T", "min_cells": 4}
    with closing(open_tokens(adata, embedder.checkpoint.vocabulary)) as stream:
        return compare_states(stream, embedder, ShiftSettings(**{**defaults, **settings}))[0]


@pytest.fixture
def embedder(checkpoint_folder):
    return Embedder(checkpoint_folder, device="cpu", dtype="float32")


def vectors_of(adata, embedder):
    """Gene → its vectors, and the cells that they are of."""
    tokens = tokenize_cells(adata, embedder.checkpoint.vocabulary).ragged(0, adata.n_obs)
    found = {}
    for batch in embedder.genes(tokens):
        cells = np.repeat(np.arange(len(batch.offsets) - 1), np.diff(batch.offsets)) + batch.start
        for token, cell, vector in zip(batch.tokens, cells, batch.vectors, strict=True):
            found.setdefault(int(token), []).append((cell, vector.astype(np.float64)))
    return found


def test_shifts_are_angles_between_plain_means(small_adata, embedder):
    table = shift(small_adata, embedder, n_permutations=20)
    of_gene = vectors_of(small_adata, embedder)
    is_goal = (small_adata.obs["cell_type"] == "T").to_numpy()
    token_of = embedder.checkpoint.vocabulary.token_of
    compared = 0
    for row in table.itertuples():
        cells, vectors = zip(*of_gene[token_of[row.ensembl_id]], strict=True)
        own = is_goal[list(cells)]
        assert (row.n_start, row.n_goal) == ((~own).sum(), own.sum())
        a, b = np.array(vectors)[own].mean(axis=0), np.array(vectors)[~own].mean(axis=0)
        expected = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert row.shift == pytest.approx(expected, abs=1e-6)
        compared += 1
    both = [
        gene for gene, each in of_gene.items()
        if min(is_goal[[c for c, _ in each]].sum(), (~is_goal[[c for c, _ in each]]).sum()) >= 4
    ]  # fmt: skip
    assert compared == len(both) > 50
    assert table["p_value"].between(1 / 21, 1).all()


def test_states_may_be_numbers(small_adata, embedder):
    small_adata.obs["cluster"] = np.arange(30) % 2
    by_number = shift(small_adata, embedder, state="cluster", start=0, goal=1, n_permutations=5)
    by_name = shift(small_adata, embedder, state="cluster", start="0", goal="1", n_permutations=5)
    pd.testing.assert_frame_equal(by_number, by_name)


def test_p_values_are_uniform_where_states_mean_nothing(small_adata, embedder):
    rng = np.random.default_rng(0)
    small_adata.obs["cell_type"] = rng.permutation(small_adata.obs["cell_type"].to_numpy())
    table = shift(small_adata, embedder, n_permutations=200)
    # Permutations are shared by all genes, so that their p values hang together.
    assert (table["p_value"] < 0.05).mean() < 0.25
    assert 0.2 < table["p_value"].median() < 0.8
    assert abs(table["z_score"].mean()) < 1


def test_genes_that_fewer_cells_of_one_state_have_do_not_differ_for_that(embedder):
    """Expressed in five cells of one state and in 30 of the other, a mean is noisier."""
    genes, names = np.arange(60), [f"G{i}" for i in range(1, 101)]
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (60, 100))
    is_goal = np.arange(60) < 30
    # Half of the genes are seldom seen in cells of the start; which cells is chance.
    counts[np.ix_(~is_goal, genes[:50])] *= rng.random((30, 50)) < 0.35
    obs = pd.DataFrame({"cell_type": np.where(is_goal, "T", "B")}, index=map(str, range(60)))
    adata = ad.AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=names))
    table = shift(adata, embedder, n_permutations=200, min_cells=3)
    seldom = table[table["n_start"] < table["n_goal"] / 2]
    assert len(seldom) > 20
    assert (seldom["p_value"] < 0.05).mean() < 0.2
    assert abs(seldom["z_score"].mean()) < 0.5


def test_what_differs_between_donors_is_not_taken_for_the_state(small_adata, embedder):
    """States that are those of the donors, but for one cell in five."""
    n_cells = 100
    counts = small_counts(n_cells, small_adata.n_vars, seed=4, mean=0.3).toarray()
    donors = np.arange(n_cells) % 2
    # Cells of one donor strongly express genes that those of the other lack.
    counts[donors == 1, :25] = 0
    counts[donors == 0, :25] += 9
    swapped = np.arange(n_cells) % 5 == 0
    obs = pd.DataFrame({"donor": donors.astype(str)}, index=[f"c{i}" for i in range(n_cells)])
    obs["cell_type"] = np.where((donors == 1) ^ swapped, "T", "B")
    adata = ad.AnnData(counts.astype(np.float32), obs=obs, var=small_adata.var)
    plain = shift(adata, embedder, n_permutations=200)
    within = shift(adata, embedder, within="donor", n_permutations=200)
    # Few of the other genes feel it in a model of random weights; but more than chance has.
    assert (plain["p_value"] < 0.05).mean() > 0.12
    assert plain["z_score"].mean() > 0.5
    assert (within["p_value"] < 0.05).mean() < 0.08
    assert within["z_score"].mean() < 0.2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"goal": "NK"}, "No cell has the state NK"),
        ({"goal": "B"}, "Both states are 'B'"),
        ({"state": "stage"}, "no column 'stage'"),
        ({"within": "donor"}, "no column 'donor'"),
        ({"within": "cell_type"}, "No value of .* has cells of both states"),
        ({"min_cells": 1000}, "No gene of the vocabulary is in 1,000 cells of each state"),
        ({"n_permutations": 0}, "n_permutations is 0"),
    ],
)
def test_what_cannot_be_compared(small_adata, embedder, settings, said):
    with pytest.raises(SettingsError, match=said):
        shift(small_adata, embedder, **settings)


@pytest.fixture(scope="module")
def monocytes():
    adata = ad.read_h5ad(shared_path("cells", "ifnb.h5ad"))
    return adata[adata.obs["cell_type"] == "CD14 Mono"].copy()


def test_genes_of_stimulated_monocytes_stand_elsewhere(monocytes):
    rankformer.tl.gene_shift(
        monocytes, model="rankformer-mini", state="stim", start="CTRL", goal="STIM", n_cells=80,
        n_permutations=200,
    )  # fmt: skip
    table = monocytes.uns["gene_shift"]
    assert (table["p_value"] < 0.05).mean() > 0.12
    # In the first ten are genes that interferon alpha and beta raise.
    assert len(set(RESPONSE.split()) & set(table["symbol"][:10])) >= 6
    np.testing.assert_allclose(table["excess"], table["shift"] - table["expected"])
    assert monocytes.uns["rankformer"]["gene_shift"]["n_cells"] == 160


def test_permuted_states_of_monocytes_show_nothing(monocytes):
    rng = np.random.default_rng(3)
    monocytes.obs["shuffled"] = pd.Categorical(rng.permutation(monocytes.obs["stim"].to_numpy()))
    rankformer.tl.gene_shift(
        monocytes, model="rankformer-mini", state="shuffled", start="CTRL", goal="STIM", n_cells=80,
        n_permutations=200, key_added="nothing",
    )  # fmt: skip
    assert (monocytes.uns["nothing"]["q_value"] < 0.05).mean() < 0.01


def test_a_copy_gets_the_table_and_the_cells_stay(monocytes):
    how = {"model": "rankformer-mini", "state": "stim", "start": "CTRL", "goal": "STIM",
           "n_cells": 20, "n_permutations": 20}  # fmt: skip
    copied = rankformer.tl.gene_shift(monocytes, copy=True, key_added="shift", **how)
    assert "shift" in copied.uns
    assert "shift" in copied.uns["rankformer"]
    assert "shift" not in monocytes.uns
    assert "shift" not in monocytes.uns.get("rankformer", {})
    assert rankformer.tl.gene_shift(monocytes, key_added="shift", **how) is None
    pd.testing.assert_frame_equal(monocytes.uns["shift"], copied.uns["shift"])
