"""Rank value encoding against a plain float64 re-statement of the published algorithm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from tests.conftest import small_counts, small_vocabulary

from rankformer.errors import TokensError
from rankformer.tokens import rank_value
from rankformer.tokens.rank_value import encode_rank_values


def published_values(counts, token_of_var, vocabulary):
    """Dense float64: sum variables of one gene, scale to 10,000 a cell, divide by medians."""
    genes = np.zeros((counts.shape[0], vocabulary.size))
    dense = np.asarray(counts.todense() if sparse.issparse(counts) else counts, np.float64)
    for var, token in enumerate(token_of_var):
        if token >= 0:
            genes[:, token] += dense[:, var]
    n_counts = dense.sum(axis=1, keepdims=True)
    n_counts[n_counts == 0] = 1
    return genes / n_counts * 10_000 / np.nan_to_num(vocabulary.median_of_token, nan=1.0)


def published_tokens(counts, token_of_var, vocabulary):
    """Tokens by descending value, ties by token; cropped and framed."""
    cells = []
    for values in published_values(counts, token_of_var, vocabulary):
        order = np.lexsort((np.arange(len(values)), -values))
        order = order[: np.count_nonzero(values)]
        order = order[: vocabulary.input_length - vocabulary.n_frame_tokens]
        if vocabulary.cls_token is not None:
            order = np.array([vocabulary.cls_token, *order, vocabulary.eos_token])
        cells.append(order)
    return cells


def split(ragged):
    values, offsets = ragged
    return np.split(values, offsets[1:-1])


def assert_equal_up_to_ties(found, counts, token_of_var, vocabulary):
    """The same genes in an order whose published values never rise beyond rounding."""
    values = published_values(counts, token_of_var, vocabulary)
    expected = published_tokens(counts, token_of_var, vocabulary)
    frame = vocabulary.n_frame_tokens // 2
    for cell, (own, theirs) in enumerate(zip(found, expected, strict=True)):
        assert len(own) == len(theirs)
        own, theirs = own[frame : len(own) - frame], theirs[frame : len(theirs) - frame]
        assert len(np.unique(own)) == len(own)
        np.testing.assert_allclose(values[cell, own], values[cell, theirs], rtol=1e-12)


def some_tokens(vocabulary, n_vars, seed=0, share=0.8):
    """Tokens of variables: some without one, some that share one."""
    rng = np.random.default_rng(seed)
    tokens = rng.choice(vocabulary.tokens, n_vars)
    return np.where(rng.random(n_vars) < share, tokens, -1).astype(np.int32)


def test_hand_worked_cell():
    vocabulary = small_vocabulary(n_genes=4)
    medians = vocabulary.medians
    tokens = vocabulary.tokens
    counts = np.array([[0, 5, 1, 0, 4], [0, 0, 0, 7, 0], [0, 0, 0, 0, 0]], np.float32)
    token_of_var = np.array([tokens[0], tokens[1], tokens[1], -1, tokens[2]], np.int32)
    first, second, third = split(
        encode_rank_values(sparse.csr_matrix(counts), token_of_var, vocabulary)
    )
    by_value = sorted([(6 / medians[1], tokens[1]), (4 / medians[2], tokens[2])], reverse=True)
    cls, eos = vocabulary.cls_token, vocabulary.eos_token
    assert first.tolist() == [cls, *(token for _, token in by_value), eos]
    assert second.tolist() == third.tolist() == [cls, eos]


@settings(deadline=None, max_examples=60)
@given(
    counts=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=90),
        elements=st.integers(0, 5) | st.just(0),
    ),
    special=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_the_published_algorithm(counts, special, seed):
    vocabulary = small_vocabulary(special=special)
    token_of_var = some_tokens(vocabulary, counts.shape[1], seed)
    found = split(encode_rank_values(sparse.csr_matrix(counts), token_of_var, vocabulary))
    assert_equal_up_to_ties(found, counts, token_of_var, vocabulary)


def test_ties_go_by_token():
    vocabulary = small_vocabulary(n_genes=3)
    object.__setattr__(vocabulary, "medians", np.array([2.0, 1.0, 4.0]))
    counts = sparse.csr_matrix(np.array([[2.0, 1.0, 4.0]]))
    reverse = vocabulary.tokens[::-1].copy()
    for token_of_var, row in ((vocabulary.tokens, [2, 1, 4]), (reverse, [4, 1, 2])):
        counts = sparse.csr_matrix(np.array([row], np.float32))
        values, _ = encode_rank_values(counts, token_of_var, vocabulary)
        assert values[1:-1].tolist() == vocabulary.tokens.tolist()


def with_medians(medians):
    vocabulary = small_vocabulary(n_genes=len(medians), special=False)
    object.__setattr__(vocabulary, "medians", np.asarray(medians, np.float64))
    object.__setattr__(vocabulary, "input_length", len(medians))
    return vocabulary


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 999), spread=st.sampled_from([1e-15, 1e-13, 1e-6, 1e-2, 1.0, 20.0]))
def test_the_order_is_exactly_that_of_the_float64_values(seed, spread):
    """Also where keys merge nearly all values: an outlier takes the keys' range for itself."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, 300) * rng.choice([1.0, 1e6], 300, p=[0.99, 0.01])
    medians = counts ** rng.integers(0, 2) * np.exp(spread * rng.normal(size=300).round(1))
    vocabulary = with_medians(medians)
    order = rng.permutation(300)
    row = sparse.csr_matrix(counts[order][None])
    found, _ = encode_rank_values(row, vocabulary.tokens[order], vocabulary)
    expected = np.lexsort((vocabulary.tokens, -(counts / medians)))
    assert found.tolist() == vocabulary.tokens[expected].tolist()


def test_scaling_a_cell_changes_nothing(vocabulary):
    counts = small_counts(40, 120)
    token_of_var = some_tokens(vocabulary, 120)
    scaled = sparse.diags(np.linspace(0.01, 300, 40)) @ counts.astype(np.float64)
    plain = encode_rank_values(counts, token_of_var, vocabulary)
    after = split(encode_rank_values(sparse.csr_matrix(scaled), token_of_var, vocabulary))
    assert_equal_up_to_ties(after, counts, token_of_var, vocabulary)
    assert (plain[1] == np.cumsum([0, *map(len, after)])).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint16"])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_same_tokens_from_any_dtype_and_threads(vocabulary, dtype, n_threads):
    counts = small_counts(50, 150)
    token_of_var = some_tokens(vocabulary, 150)
    expected = encode_rank_values(counts, token_of_var, vocabulary)
    found = encode_rank_values(counts.astype(dtype), token_of_var, vocabulary, n_threads=n_threads)
    for one, other in zip(expected, found, strict=True):
        assert one.tobytes() == other.tobytes()


def test_explicit_zeros_duplicates_and_unsorted_indices_are_harmless(vocabulary):
    token_of_var = vocabulary.tokens[:4]
    untidy = sparse.csr_matrix(
        (np.array([2.0, 0.0, 1.0, 1.0]), np.array([3, 1, 0, 3]), np.array([0, 4])), shape=(1, 4)
    )
    tidy = sparse.csr_matrix(np.array([[1.0, 0.0, 0.0, 3.0]]))
    found = encode_rank_values(untidy, token_of_var, vocabulary)[0]
    assert found.tolist() == encode_rank_values(tidy, token_of_var, vocabulary)[0].tolist()


def test_cells_are_cropped_to_the_input_length(vocabulary):
    counts = sparse.csr_matrix(np.arange(1.0, 201.0)[None])
    values, offsets = encode_rank_values(counts, vocabulary.tokens, vocabulary)
    assert len(values) == vocabulary.input_length == offsets[-1]


def test_no_cells(vocabulary):
    empty = sparse.csr_matrix((0, 5), dtype=np.float32)
    values, offsets = encode_rank_values(empty, vocabulary.tokens[:5], vocabulary)
    assert len(values) == 0
    assert offsets.tolist() == [0]


@pytest.mark.parametrize("tokens", [[4, 5], [4, 5, 999], [4, 5, 0]])
def test_foreign_tokens_are_refused(tokens):
    with pytest.raises(TokensError, match="variables"):
        encode_rank_values(small_counts(2, 3), np.array(tokens, np.int32), small_vocabulary())


@pytest.mark.parametrize(("field", "most"), [("_TOKEN_MASK", 9), ("_INDEX_MASK", 25)])
def test_more_than_the_kernel_can_count_is_refused(monkeypatch, field, most):
    vocabulary = with_medians(np.ones(20))
    counts = sparse.csr_matrix(np.ones((2, 20)))
    encode_rank_values(counts, vocabulary.tokens, vocabulary)
    monkeypatch.setattr(rank_value, field, most)
    with pytest.raises(TokensError, match="cells of up to 20 entries"):
        encode_rank_values(counts, vocabulary.tokens, vocabulary)
