"""Pairs of real genes: what is known to belong together, beside like genes that do not."""

import anndata as ad
import numpy as np
import pytest
from tests.conftest import shared_path

import rankformer

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


def test_interferon_response_genes_lie_together(pairs):
    is_own = pairs["source"].isin(INTERFERON) & pairs["target"].isin(INTERFERON)
    assert is_own.sum() >= 10
    assert pairs.loc[is_own, "place"].median() > 0.75
    assert (pairs.loc[is_own, "q_value"] < 0.01).mean() > 0.6


def test_their_neighbours_in_rank_do_not(pairs):
    """Each gene replaced by one that occurs in about as many pairs' cells."""
    counts = pairs.groupby("source")["n_cells"].max().sort_values()
    others = [name for name in counts.index if name not in INTERFERON]
    drawn = np.random.default_rng(0).choice(others[-150:], 20, replace=False)
    is_own = pairs["source"].isin(drawn) & pairs["target"].isin(drawn)
    assert pairs.loc[is_own, "place"].median() < 0.65
