"""What kind of values a matrix holds: told right for what scanpy and others make of counts."""

import math

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cells.count_files import make_counts
from tests.conftest import shared_path

from rankformer.cells.counts import CountKind, check_values, judge_values, undo_log
from rankformer.errors import CountsError

REAL = ("pbmc3k", "pbmc_1k_5prime", "sc_mixology")
TARGETS = (1e4, 1e6, None, 1.0)


@pytest.fixture(scope="module", params=["made", *REAL])
def counts(request) -> sp.csr_matrix:
    if request.param == "made":
        return make_counts(100, 2000, seed=3)
    adata = ad.read_h5ad(shared_path("cells", f"{request.param}.h5ad"), backed="r")
    kept = np.linspace(0, adata.n_obs - 1, 100).astype(int)
    cells = adata.X[kept]
    adata.file.close()
    return cells


def normalised(counts, target=1e4) -> sp.csr_matrix:
    adata = ad.AnnData(counts.astype("float32"))
    sc.pp.normalize_total(adata, target_sum=target)
    return adata.X


def changed(counts, change) -> sp.csr_matrix:
    new = counts.astype("float32")
    new.data = change(new.data).astype("float32")
    return new


def test_counts_are_counts_in_any_type(counts):
    for dtype in ("float32", "float64", "int32"):
        assert judge_values(counts.astype(dtype)).kind is CountKind.COUNTS


@pytest.mark.parametrize("target", TARGETS)
def test_scaled_per_cell(counts, target):
    scaled = normalised(counts, target)
    assert judge_values(scaled).kind is CountKind.SCALED
    assert judge_values(scaled.astype("float64")).kind is CountKind.SCALED


@pytest.mark.parametrize(
    ("target", "base"), [*((each, math.e) for each in TARGETS), (1e4, 2), (1e6, 10)]
)
def test_logarithm_of_scaled(counts, target, base):
    logged = changed(normalised(counts, target), lambda x: np.log1p(x) / math.log(base))
    figures = judge_values(logged)
    assert (figures.kind, figures.log_base) == (CountKind.LOG1P, base)


def test_ones_alone_are_no_counts(counts):
    binary = changed(counts, lambda x: np.ones_like(x))
    assert judge_values(binary).kind is CountKind.BINARY
    # Of few values it cannot be told, and one count of two tells.
    assert judge_values(binary[:1, :40]).kind in (CountKind.COUNTS, CountKind.EMPTY)
    binary.data[7] = 2
    assert judge_values(binary).kind is CountKind.COUNTS


def test_logarithm_of_raw_counts_of_some_genes_and_of_rounded_values(counts):
    assert judge_values(changed(counts, np.log1p)).kind is CountKind.LOG1P
    logged = changed(normalised(counts), np.log1p)
    assert judge_values(changed(logged, lambda x: x.round(3))).kind is CountKind.LOG1P
    subset = np.random.default_rng(0).choice(counts.shape[1], 1000, replace=False)
    assert judge_values(logged[:, subset]).kind is CountKind.LOG1P


OTHERS = {
    "square root": lambda x, rng: changed(x, np.sqrt),
    "arcsinh": lambda x, rng: changed(x, np.arcsinh),
    "soft counts": lambda x, rng: changed(x, lambda v: v * rng.uniform(0.7, 1, v.size)),
    "divided by gene length": lambda x, rng: (
        x.multiply(1 / rng.uniform(500, 5000, x.shape[1])).tocsr().astype("float32")
    ),
    "log1p, then scaled per gene without centring": lambda x, rng: (
        changed(normalised(x), np.log1p)
        .multiply(1 / rng.uniform(0.5, 2, x.shape[1]))
        .tocsr()
        .astype("float32")
    ),
    "log1p twice": lambda x, rng: changed(normalised(x), lambda v: np.log1p(np.log1p(v))),
    "rounded to one decimal": lambda x, rng: changed(normalised(x), lambda v: np.log1p(v).round(1)),
    "reals": lambda x, rng: changed(x, lambda v: rng.lognormal(size=v.size)),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_what_has_lost_the_ranks(counts, change):
    values = change(counts, np.random.default_rng(0))
    figures = judge_values(values)
    assert figures.kind is CountKind.NORMALIZED
    assert figures.example in values.data
    assert figures.example != round(figures.example)


def test_centred_and_not_finite(counts):
    dense = counts[:, :3000].toarray()
    centred = judge_values(sp.csr_matrix(dense - dense.mean(axis=0)))
    assert centred.kind is CountKind.CENTRED
    assert centred.minimum < 0
    for bad in (np.nan, np.inf, -np.inf):
        broken = counts.astype("float32")
        broken.data[7] = bad
        assert judge_values(broken).kind is CountKind.NOT_FINITE


def test_figures_say_what_was_seen():
    cells = sp.csr_matrix([[0, 2, 7.5], [0, 0, 0], [1, 1, 0]])
    figures = judge_values(cells)
    assert (figures.n_cells, figures.n_empty, figures.example) == (3, 1, 7.5)
    assert (figures.minimum, figures.maximum, figures.integer_share) == (1, 7.5, 0.75)
    assert str(figures) == (
        "normalised values (75 % whole numbers, others such as 7.5, max 7.5 in 3 cells)"
    )


def test_zeros_alone_are_empty():
    explicit = sp.csr_matrix((np.zeros(3), ([0, 1, 1], [0, 0, 2])), shape=(2, 3))
    assert judge_values(explicit).kind is CountKind.EMPTY
    assert judge_values(sp.csr_matrix((4, 3))).kind is CountKind.EMPTY


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=100)
def test_reals_are_never_taken_for_counts(seed):
    """However small the sample: what is not proved is not scaled counts."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 12, 2)
    reals = sp.csr_matrix(rng.choice([rng.lognormal(size=shape), rng.random(shape)]))
    assert judge_values(reals.astype("float32")).kind is CountKind.NORMALIZED


@given(st.integers(0, 10_000), st.floats(1e-4, 1e4))
@settings(deadline=None, max_examples=60)
def test_any_factor_per_cell_is_found(seed, size):
    rng = np.random.default_rng(seed)
    whole = make_counts(40, 300, seed=seed, dtype="float64")
    scaled = sp.diags(size * rng.uniform(0.5, 2, 40)).dot(whole).tocsr().astype("float32")
    assert judge_values(scaled).kind is CountKind.SCALED


@given(st.integers(0, 10_000), st.sampled_from([1e3, 1e4, 1e6]))
@settings(deadline=None, max_examples=30)
def test_undone_logarithm_has_the_ranks_of_the_counts(seed, target):
    """Order and ties of each cell are those of its counts."""
    whole = make_counts(20, 300, seed=seed)
    undone = undo_log(changed(normalised(whole, target), np.log1p), math.e)
    np.testing.assert_array_equal(undone.indices, whole.indices)
    for row in range(20):
        part = slice(whole.indptr[row], whole.indptr[row + 1])
        ranks = pd.Series(whole.data[part]).rank(method="dense")
        assert list(pd.Series(undone.data[part]).rank(method="dense")) == list(ranks)


def test_the_smallest_value_need_not_be_one_count():
    whole = make_counts(60, 400, density=0.6)
    whole.data[whole.data == 1] = 0
    whole.eliminate_zeros()
    scaled = normalised(whole)
    assert judge_values(scaled).kind is CountKind.SCALED
    assert judge_values(changed(scaled, np.log1p)).kind is CountKind.LOG1P


def test_scaled_counts_in_a_share_of_the_cells_are_not_enough():
    scaled = normalised(make_counts(60, 400, density=0.6))
    others = changed(scaled, np.sqrt)
    mixed = sp.vstack([scaled[:45], others[45:]], format="csr")
    assert judge_values(mixed).kind is CountKind.NORMALIZED


def check(cells, **changes) -> None:
    settings = {
        "whole": True,
        "first_row": 1000,
        "obs_names": pd.Index([f"cell{i}" for i in range(1000 + cells.shape[0])]),
        "var_names": pd.Index([f"gene{i}" for i in range(cells.shape[1])]),
        "location": "X of a.h5ad",
    }
    check_values(cells, **(settings | changes))


@pytest.mark.parametrize("bad", [0.5, -1, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [1, 2])
def test_a_bad_value_is_named_with_cell_and_variable(bad, place):
    cells = sp.csr_matrix((5, 4), dtype="float64")
    cells.data = np.array([3, 1, 1, 2.0])
    cells.data[place] = bad
    cells.indices = np.array([0, 1, 1, 2], "int32")
    cells.indices[place] = 3
    cells.indptr = np.array([0, 1, 1, 3, 3, 4], "int32")
    with pytest.raises(CountsError) as caught:
        check(cells)
    assert f"{bad:g} in the cell 'cell1002' (row 1,002), variable 'gene3'" in caught.value.found


def test_fractions_pass_where_values_need_not_be_whole_and_all_types_are_checked():
    check(sp.csr_matrix([[0.5, 2, 0]]), whole=False)
    check(sp.csr_matrix((3, 3)))
    check(sp.csr_matrix(np.array([[3, 255]], "uint8")))
    with pytest.raises(CountsError, match="holds -4"):
        check(sp.csr_matrix(np.array([[3, -4]], "int16")), whole=False)
