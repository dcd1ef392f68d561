"""Estimates of counts are told from what normalisation makes of counts, on real cells."""

import logging

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp
from tests.cells.count_files import make_counts
from tests.conftest import shared_path, small_vocabulary

from rankformer.cells.counts import CountKind, judge_values
from rankformer.cells.source import open_cells
from rankformer.errors import CountsError
from rankformer.runs.options import plain_reading
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import tokenize_cells

REAL = ("pbmc3k", "sc_mixology")


@pytest.fixture(scope="module", params=["made", *REAL])
def counts(request) -> sp.csr_matrix:
    if request.param == "made":
        return make_counts(100, 2000, seed=3).astype(np.float32)
    adata = ad.read_h5ad(shared_path("cells", f"{request.param}.h5ad"), backed="r")
    kept = np.linspace(0, adata.n_obs - 1, 100).astype(int)
    cells = adata.X[kept]
    adata.file.close()
    return cells.astype(np.float32)


def changed(counts, change):
    new = counts.copy()
    new.data = np.asarray(change(new.data.astype(np.float64)), np.float32)
    return new


def shared_out(counts, seed=0):
    """Of a tenth of the entries, a part goes to a gene that looks alike: the next one."""
    rng = np.random.default_rng(seed)
    given = changed(counts, lambda v: np.where(rng.random(v.size) < 0.1, v * rng.random(v.size), 0))
    moved = sp.csr_matrix((given.data, (given.indices + 1) % given.shape[1], given.indptr),
                          shape=given.shape)  # fmt: skip
    estimates = sp.csr_matrix(counts - given + moved)
    estimates.data[estimates.data < 1e-4] = 0
    estimates.eliminate_zeros()
    return estimates


def without_soup(counts, share=0.1):
    """As SoupX subtracts: of each cell, its share of the molecules that float about."""
    profile = np.asarray(counts.sum(axis=0)).ravel() / counts.sum()
    totals = np.asarray(counts.sum(axis=1)).ravel()
    left = counts.toarray() - share * totals[:, None] * profile
    return sp.csr_matrix(np.maximum(left, 0).astype(np.float32))


def by_scanpy(counts, *steps):
    adata = ad.AnnData(counts.copy())
    for step, how in steps:
        step(adata, **how)
    return sp.csr_matrix(adata.X)


TOTAL = sc.pp.normalize_total
NORMALISED = {
    "CP10k": lambda x: by_scanpy(x, (TOTAL, {"target_sum": 1e4})),
    "CPM": lambda x: by_scanpy(x, (TOTAL, {"target_sum": 1e6})),
    "median": lambda x: by_scanpy(x, (TOTAL, {})),
    "without the highest": lambda x: by_scanpy(x, (TOTAL, {"exclude_highly_expressed": True})),
    "log1p": lambda x: by_scanpy(x, (TOTAL, {"target_sum": 1e4}), (sc.pp.log1p, {})),
    "log1p of counts": lambda x: by_scanpy(x, (sc.pp.log1p, {})),
    "log2": lambda x: by_scanpy(x, (TOTAL, {"target_sum": 1e6}), (sc.pp.log1p, {"base": 2})),
    "scaled": lambda x: by_scanpy(
        x, (TOTAL, {"target_sum": 1e4}), (sc.pp.log1p, {}), (sc.pp.scale, {"zero_center": False})
    ),
    "centred": lambda x: by_scanpy(x[:, :2000], (sc.pp.log1p, {}), (sc.pp.scale, {})),
    "square roots": lambda x: changed(x, np.sqrt),
    "Freeman-Tukey": lambda x: changed(x, lambda v: np.sqrt(v) + np.sqrt(v + 1)),
    "Anscombe": lambda x: changed(x, lambda v: 2 * np.sqrt(v + 0.375)),
    "roots of CP10k": lambda x: changed(by_scanpy(x, (TOTAL, {"target_sum": 1e4})), np.sqrt),
    "power of 3/4": lambda x: changed(x, lambda v: v**0.75),
    "power of 3/2": lambda x: changed(x, lambda v: v**1.5),
    "arcsinh": lambda x: changed(x, np.arcsinh),
    "log1p, rounded": lambda x: changed(x, lambda v: np.log1p(v).round(1)),
    "by gene length": lambda x: sp.csr_matrix(
        x.multiply(1 / np.random.default_rng(0).lognormal(0, 0.5, x.shape[1]))
    ).astype(np.float32),
    "half of the cells": lambda x: sp.vstack(
        [x[:50], by_scanpy(x[50:], (TOTAL, {"target_sum": 1e4}), (sc.pp.log1p, {}))]
    ).tocsr(),
}


@pytest.mark.parametrize("made", NORMALISED.values(), ids=NORMALISED)
def test_normalised_values_are_never_taken_for_estimates(counts, made):
    values = made(counts)
    kind = judge_values(values).kind
    assert kind is not CountKind.ESTIMATED
    # Counts divided by the length of each gene cannot be told from estimates, where a user says so.
    if kind is CountKind.NORMALIZED and made is not NORMALISED["by gene length"]:
        with pytest.raises(CountsError, match="X holds normalised values"):
            open_cells(ad.AnnData(values), estimated_counts=True)


def test_pearson_residuals_and_corrected_counts_of_sctransform_are_as_before(counts):
    few = sp.csr_matrix(counts[:, np.flatnonzero(counts.sum(axis=0) > 3)])
    adata = ad.AnnData(few[np.flatnonzero(few.sum(axis=1))])
    sc.experimental.pp.normalize_pearson_residuals(adata)
    assert judge_values(sp.csr_matrix(adata.X)).kind is CountKind.CENTRED
    # Corrected counts are those of another depth, rounded to whole numbers.
    assert judge_values(changed(few, lambda v: np.rint(v * 1.2))).kind is CountKind.COUNTS


def test_counts_that_were_shared_out_are_recognised_and_told(counts, caplog):
    with caplog.at_level(logging.INFO, "rankformer"):
        cells = open_cells(ad.AnnData(shared_out(counts)))
    assert cells.kind is CountKind.ESTIMATED
    assert "X: estimated counts (" in caplog.text
    assert "shared out among genes" in caplog.text
    n_read = sum(chunk.counts.shape[0] for chunk in cells.chunks(30))
    assert n_read == counts.shape[0]


@pytest.mark.parametrize("how", ["SoupX", "decontX"])
def test_without_ambient_rna_they_are_taken_where_the_user_says_so(counts, how):
    rng = np.random.default_rng(1)
    soft = {"SoupX": without_soup, "decontX": lambda x: changed(
        x, lambda v: v * rng.uniform(0.7, 0.999, v.size))}[how](counts)  # fmt: skip
    with pytest.raises(CountsError) as refused:
        open_cells(ad.AnnData(soft))
    assert "--estimated-counts" in refused.value.fix
    assert open_cells(ad.AnnData(soft), estimated_counts=True).kind is CountKind.ESTIMATED_BY_OPTION


def test_one_fraction_among_counts_is_a_fault_and_no_estimate(counts):
    odd = counts.copy()
    odd.data[3] = 0.5
    assert judge_values(odd).kind is CountKind.NORMALIZED


def test_normalised_values_that_were_cut_off_at_a_whole_number_are_no_estimates(counts):
    """As where scanpy clips: most values above 1 are then the limit, and whole."""
    values = by_scanpy(counts, (TOTAL, {"target_sum": 1e5}))
    limit = max(2, np.floor(np.quantile(values.data[values.data > 1], 0.2)))
    cut = changed(values, lambda v: np.minimum(v, limit))
    assert (cut.data == limit).sum() > (cut.data > 1).sum() / 2
    assert judge_values(cut).kind is not CountKind.ESTIMATED


def test_cells_that_were_normalised_are_found_among_estimates():
    """Beyond those that the first look takes."""
    counts = make_counts(1200, 2000, seed=5).astype(np.float32)
    values = shared_out(counts).tolil()
    odd = int(np.argmax((counts[40:60] > 1).sum(axis=1))) + 40
    values[odd] = np.log1p(1.37 * counts[odd].toarray())
    adata = ad.AnnData(sp.csr_matrix(values))
    with open_cells(adata) as cells:
        assert cells.kind is CountKind.ESTIMATED
        with pytest.raises(CountsError, match=rf"none above 1 in the cell '{odd}' \(row {odd}\)"):
            list(cells.chunks(100))


def test_tokens_of_estimates_are_those_of_their_values():
    genes = small_vocabulary().ensembl_ids
    counts = make_counts(100, len(genes), seed=2).astype(np.float32)
    soft = changed(counts, lambda v: 40 * v * np.random.default_rng(0).uniform(0.7, 0.99, v.size))
    adata = ad.AnnData(soft)
    adata.var_names = list(genes)
    taken = tokenize_cells(adata, small_vocabulary(), ReadingOptions(estimated_counts=True))
    unchecked = tokenize_cells(adata, small_vocabulary(), ReadingOptions(check=False))
    assert taken.table["input_ids"].equals(unchecked.table["input_ids"])


def test_a_run_is_bound_to_the_consent():
    assert "estimated_counts" not in plain_reading(ReadingOptions())
    assert plain_reading(ReadingOptions(estimated_counts=True))["estimated_counts"] is True
