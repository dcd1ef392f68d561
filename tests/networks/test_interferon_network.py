"""Pairs of real genes: what is known to belong together, beside like genes that do not."""

import anndata as ad
import numpy as np
import pytest
from scipy.stats import spearmanr
from tests.conftest import shared_path

import rankformer
from rankformer.embed.embedder import Embedder

# Genes that interferon turns on (Schoggins et al., Nature 472, 481, 2011).
INTERFERON = ("ISG15", "IFI6", "IFIT1", "IFIT3", "MX1", "ISG20", "IFITM3", "LY6E", "OAS1", "IFI44L")


@pytest.fixture(scope="module")
def pairs():
    adata = ad.read_h5ad(shared_path("cells", "ifnb.h5ad"))
    chosen = (adata.obs["cell_type"] == "CD14 Mono") & (adata.obs["stim"] == "STIM")
    adata = adata[chosen].copy()
    rankformer.tl.gene_network(
        adata, model="rankformer-mini", by="similarity", n_cells=60, top=None
    )
    return adata.uns["gene_network"]


def share_below(pairs, names):
    """Where the effects of pairs of these genes lie among those of all pairs, from 0 to 1."""
    places = pairs["effect"].rank(pct=True)
    is_own = pairs["source"].isin(names) & pairs["target"].isin(names)
    assert is_own.sum() >= 10
    return places[is_own].median()


def test_interferon_response_genes_lie_together(pairs):
    assert share_below(pairs, INTERFERON) > 0.9


def test_other_genes_that_as_many_cells_have_do_not(pairs):
    counts = pairs.groupby("source")["n_cells"].max().sort_values()
    others = [name for name in counts.index if name not in INTERFERON][-150:]
    rng = np.random.default_rng(0)
    drawn = [share_below(pairs, rng.choice(others, 20, replace=False)) for _ in range(5)]
    assert np.mean(drawn) < 0.75


def test_places_are_not_those_of_the_embeddings_alone(pairs):
    """What every cell shows alike, the genes' own embeddings, takes no part in them."""
    embedder = Embedder("rankformer-mini", device="cpu", dtype="float32")
    vocabulary = embedder.checkpoint.vocabulary
    vectors = embedder.encoder.embeddings.token.weight.detach().numpy()
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    a, b = (
        unit[[vocabulary.token_of[gene] for gene in pairs[f"{side}_ensembl_id"]]]
        for side in ("source", "target")
    )
    static = (a * b).sum(axis=1)
    assert spearmanr(pairs["effect"], static).statistic > 0.3
    assert abs(spearmanr(pairs["place"], static).statistic) < 0.3
