"""Co-expression beside scanpy and numpy."""

from contextlib import closing

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from tests.conftest import small_counts

from rankformer.networks.coexpression import correlate_genes
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import open_tokens


@pytest.mark.parametrize("chunk_cells", [7, 2048])
def test_correlations_are_those_of_scanpy_and_numpy(small_adata, vocabulary, chunk_cells):
    rows = np.array([0, 2, 3, 5, 8, 13, 21, 22, 23, 29])
    logs = small_adata[rows].copy()
    sc.pp.normalize_total(logs, target_sum=1e4)
    sc.pp.log1p(logs)
    symbols = ["G5", "G9", "G100", "G42"]
    tokens = np.array([vocabulary.token_of[f"ENSG{int(name[1:]):011d}"] for name in symbols])
    options = ReadingOptions(chunk_cells=chunk_cells, min_recognised=0.1)
    with closing(open_tokens(small_adata, vocabulary, options)) as stream:
        own = correlate_genes([stream], [rows], tokens, np.arange(4))
        some = correlate_genes([stream], [rows], tokens, np.array([2, 0]))
    np.testing.assert_array_equal(some, own[[2, 0]])
    values = logs[:, symbols].X.toarray()
    varies = values.std(axis=0) > 0
    expected = np.corrcoef(values[:, varies].T)
    np.testing.assert_allclose(own[np.ix_(varies, varies)], expected, atol=1e-5)
    assert np.isnan(own[~varies]).all()


def test_variables_of_one_gene_are_summed(vocabulary):
    counts = small_counts(40, 6, seed=3, mean=3)
    names = ["G1", "ALIAS1", "G2", "G3", "G4", "G5"]
    adata = ad.AnnData(counts, var=pd.DataFrame(index=names))
    tokens = np.array([vocabulary.token_of[f"ENSG{i:011d}"] for i in (1, 2)])
    with closing(open_tokens(adata, vocabulary)) as stream:
        own = correlate_genes([stream], [np.arange(40)], tokens, np.arange(2))
    dense = counts.toarray()
    scaled = dense / dense.sum(axis=1, keepdims=True) * 1e4
    logs = np.log1p(np.column_stack([scaled[:, 0] + scaled[:, 1], scaled[:, 2]]))
    np.testing.assert_allclose(own, np.corrcoef(logs.T), atol=1e-5)
