"""Biology that can fail: which genes make stimulated monocytes what they are?

Blood cells with and without interferon beta (Kang et al., Nature Biotechnology 36, 89, 2018).
Taking out what interferon induces should move stimulated cells towards unstimulated ones. Genes
are of MSigDB's HALLMARK_INTERFERON_ALPHA_RESPONSE (Liberzon et al., Cell Systems 1, 417, 2015).
"""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from tests.conftest import shared_path

RESPONSE = """
BST2 CXCL10 CXCL11 EPSTI1 IFI35 IFI44 IFI44L IFIH1 IFIT2 IFIT3 IFITM1 IFITM2 IFITM3 IRF7 ISG15
ISG20 LAMP3 LAP3 LGALS3BP LY6E MX1 OAS1 OASL PARP9 PARP12 PARP14 PSMB8 PSMB9 PSME1 PSME2 RSAD2
SAMD9 SAMD9L SP110 STAT2 TAP1 TRIM21 TRIM25 UBE2L6 USP18
"""
N_NEIGHBOURS = 30


def beyond_like_ranks(table):
    """The mean over cells of what a gene does beyond the genes beside it in rank."""
    value = table["shift_to_CTRL"] - table["shift_to_STIM"]
    beyond = np.empty(len(table))
    for rows in table.reset_index().groupby("cell").indices.values():
        order = rows[np.argsort(table["rank"].to_numpy()[rows])]
        own = pd.Series(value.to_numpy()[order])
        middle = own.rolling(2 * N_NEIGHBOURS + 1, center=True, min_periods=10).median()
        beyond[order] = own - middle
    means = pd.DataFrame({"symbol": table["symbol"], "beyond": beyond}).groupby("symbol")
    means = means["beyond"].agg(["mean", "size"])
    return means.loc[means["size"] >= 3, "mean"]


def screen(adata, folder, command):
    path = folder / "cells.h5ad"
    adata.write_h5ad(path)
    status, _, said = command(
        "perturb", path, "-o", folder / "out.parquet", "-m", "rankformer-mini", "--state", "stim",
        "--start", "STIM", "--goal", "CTRL", "--method", "screen", "--directions", "0",
        "--n-cells", "30", "--device", "cpu", "--dtype", "float32",
    )  # fmt: skip
    assert status == 0, said
    return beyond_like_ranks(pd.read_parquet(folder / "out.parquet"))


@pytest.fixture
def monocytes():
    adata = ad.read_h5ad(shared_path("cells", "ifnb.h5ad"))
    return adata[adata.obs["cell_type"] == "CD14 Mono"].copy()


def test_the_response_to_interferon_keeps_stimulated_cells_from_others(
    monocytes, tmp_path, command
):
    effects = screen(monocytes, tmp_path, command)
    is_response = effects.index.isin(RESPONSE.split())
    assert is_response.sum() > 15
    test = mannwhitneyu(effects[is_response], effects[~is_response], alternative="greater")
    area = test.statistic / is_response.sum() / (~is_response).sum()
    assert area > 0.75
    assert test.pvalue < 1e-4
    # Of 20 genes drawn at random, one would be expected in three draws.
    assert len(set(effects.nlargest(20).index) & set(RESPONSE.split())) >= 4


def test_nothing_is_found_where_labels_mean_nothing(monocytes, tmp_path, command):
    rng = np.random.default_rng(0)
    monocytes.obs["stim"] = rng.permutation(monocytes.obs["stim"].to_numpy())
    effects = screen(monocytes, tmp_path, command)
    is_response = effects.index.isin(RESPONSE.split())
    test = mannwhitneyu(effects[is_response], effects[~is_response], alternative="greater")
    assert test.pvalue > 0.01
