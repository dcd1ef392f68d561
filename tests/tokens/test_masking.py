"""Which genes are masked, and what becomes of them."""

import numpy as np
import pytest
from tests.conftest import small_vocabulary

from rankformer.tokens.masking import mask_genes


@pytest.fixture
def tokens(vocabulary):
    """2,000 cells of 50 genes, framed as the vocabulary frames them."""
    rng = np.random.default_rng(0)
    genes = rng.choice(vocabulary.tokens, (2000, 50))
    before = [] if vocabulary.cls_token is None else [np.full((2000, 1), vocabulary.cls_token)]
    behind = [] if vocabulary.eos_token is None else [np.full((2000, 1), vocabulary.eos_token)]
    return np.hstack([*before, genes, *behind]).astype(np.int32).ravel()


def is_gene(tokens, vocabulary):
    return ~np.isin(tokens, list(vocabulary.special_tokens.values()))


def test_shares_are_those_of_bert(tokens, vocabulary):
    masked = mask_genes(tokens, vocabulary, np.random.default_rng(1), 0.15)
    n_genes = is_gene(tokens, vocabulary).sum()
    shown = masked.tokens[masked.places]
    is_mask, is_kept = shown == vocabulary.mask_token, shown == masked.genes
    # Four standard errors of shares of 100,000 genes, and of 15,000 masked ones.
    assert len(masked.places) / n_genes == pytest.approx(0.15, abs=0.005)
    assert is_mask.mean() == pytest.approx(0.8, abs=0.014)
    # One random gene in 200 is the gene itself.
    assert is_kept.mean() == pytest.approx(0.1 + 0.1 / 200, abs=0.01)
    others = shown[~is_mask & ~is_kept]
    assert len(np.unique(others)) > 0.95 * len(vocabulary.tokens)


def test_special_tokens_are_neither_masked_nor_put_in(tokens, vocabulary):
    masked = mask_genes(tokens, vocabulary, np.random.default_rng(2), 0.9)
    assert is_gene(tokens[masked.places], vocabulary).all()
    assert is_gene(masked.genes, vocabulary).all()
    special = ~is_gene(tokens, vocabulary)
    assert (masked.tokens[special] == tokens[special]).all()
    shown = set(masked.tokens[masked.places]) - set(vocabulary.tokens)
    assert shown == {vocabulary.mask_token}


def test_what_is_not_chosen_stays(tokens, vocabulary):
    before = tokens.copy()
    masked = mask_genes(tokens, vocabulary, np.random.default_rng(3), 0.15)
    others = np.setdiff1d(np.arange(len(tokens)), masked.places)
    assert (masked.tokens[others] == before[others]).all()
    assert (masked.genes == before[masked.places]).all()
    assert (tokens == before).all()


def test_tokens_of_a_cell_without_genes():
    vocabulary = small_vocabulary()
    frame = np.array([vocabulary.cls_token, vocabulary.eos_token], np.int32)
    masked = mask_genes(frame, vocabulary, np.random.default_rng(0), 0.9)
    assert not len(masked.places)
    assert (masked.tokens == frame).all()


def test_each_gene_may_be_put_in():
    vocabulary = small_vocabulary(n_genes=5)
    tokens = np.tile(vocabulary.tokens, 2000)
    masked = mask_genes(tokens, vocabulary, np.random.default_rng(4), share=0.5)
    shown = masked.tokens[masked.places]
    others = shown[(shown != vocabulary.mask_token) & (shown != masked.genes)]
    assert set(others) == set(vocabulary.tokens)
