"""Parts of a cell: nothing is lost, nothing is made up, shares are met."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from tests.conftest import small_counts, small_vocabulary

from rankformer.tokens.thinning import crop_genes, split_counts, split_genes


@given(seed=st.integers(0, 99), n_cells=st.integers(1, 8), share=st.floats(0, 1))
def test_parts_add_up_to_the_molecules(seed, n_cells, share):
    counts = small_counts(n_cells, 30, seed=seed, mean=2)
    counts.data[::7] = 0  # explicit zeros
    rng = np.random.default_rng(seed)
    first, second = split_counts(counts, np.full(n_cells, share), rng)
    assert ((first + second) != counts).nnz == 0
    assert (first.data > 0).all()
    assert (second.data > 0).all()


def test_shares_are_those_of_each_cell():
    counts = csr_matrix(np.full((3, 500), 20, np.float32))
    first, _ = split_counts(counts, np.array([0.1, 0.5, 0.9]), np.random.default_rng(0))
    found = np.asarray(first.sum(axis=1)).ravel() / 10_000
    assert found == pytest.approx([0.1, 0.5, 0.9], abs=0.02)


def test_scaled_counts_are_taken_back_to_molecules():
    dense = small_counts(6, 40, seed=3, mean=2).toarray()
    dense[:, 0] = 1  # so that the smallest value of each cell is one molecule
    counts = csr_matrix(dense)
    scaled = csr_matrix((dense / dense.sum(axis=1, keepdims=True) * 10_000).astype(np.float32))
    of_counts = split_counts(counts, np.full(6, 0.5), np.random.default_rng(1))
    of_scaled = split_counts(scaled, np.full(6, 0.5), np.random.default_rng(1))
    for expected, found in zip(of_counts, of_scaled, strict=True):
        assert (expected != found).nnz == 0


def test_parts_of_genes():
    vocabulary = small_vocabulary()
    rng = np.random.default_rng(0)
    genes = [rng.permutation(vocabulary.tokens)[:n] for n in (40, 0, 100)]
    cells = [np.array([vocabulary.cls_token, *own, vocabulary.eos_token]) for own in genes]
    ragged = np.concatenate(cells).astype(np.int32), np.cumsum([0, *map(len, cells)])
    parts = split_genes(ragged, np.array([0.3, 0.5, 0.7]), vocabulary, rng)
    for cell, own in enumerate(genes):
        found = [values[offsets[cell] : offsets[cell + 1]] for values, offsets in parts]
        for part in found:
            assert part[0] == vocabulary.cls_token
            assert part[-1] == vocabulary.eos_token
            inner = part[1:-1].tolist()
            assert inner == [gene for gene in own if gene in inner]  # the ranks stay
        assert sorted([*found[0][1:-1], *found[1][1:-1]]) == sorted(own)


def test_shares_of_genes_are_those_of_each_cell():
    vocabulary = small_vocabulary(special=False, n_genes=3000)
    values, offsets = np.tile(vocabulary.tokens, 3), np.arange(4) * 3000
    shares = np.array([0.1, 0.5, 0.9])
    parts = split_genes((values, offsets), shares, vocabulary, np.random.default_rng(0))
    for (_, own_offsets), own_shares in zip(parts, (shares, 1 - shares), strict=True):
        # Four standard errors of a share of 3,000.
        assert np.diff(own_offsets) / 3000 == pytest.approx(own_shares, abs=0.037)


def test_scaled_cells_of_a_single_gene_and_of_none():
    """One molecule, whatever it was scaled to; and cells without counts disturb no others."""
    dense = np.zeros((5, 3))
    dense[1, 2] = 0.37
    dense[3] = [2.5, 5.0, 7.5]
    parts = split_counts(csr_matrix(dense), np.ones(5), np.random.default_rng(0))
    expected = [[0, 0, 0], [0, 0, 1], [0, 0, 0], [1, 2, 3], [0, 0, 0]]
    assert parts[0].toarray().tolist() == expected
    assert parts[1].nnz == 0
    assert parts[0].dtype == parts[1].dtype == np.float32


@given(seed=st.integers(0, 99), n_genes=st.integers(0, 50))
def test_cropped_cells_keep_their_first_genes_and_their_frame(seed, n_genes):
    vocabulary, rng = small_vocabulary(), np.random.default_rng(seed)
    genes = [rng.permutation(vocabulary.tokens)[:n] for n in rng.integers(0, 40, 5)]
    frame = vocabulary.cls_token, vocabulary.eos_token
    cells = [np.array([frame[0], *own, frame[1]], np.int32) for own in genes]
    offsets = np.cumsum([0, *map(len, cells)])
    values, ends = crop_genes((np.concatenate(cells), offsets), n_genes, vocabulary)
    for own, (start, stop) in zip(genes, pairwise(ends), strict=True):
        assert values[start:stop].tolist() == [frame[0], *own[:n_genes], frame[1]]
