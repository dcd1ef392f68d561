"""A model begun from co-expression places cells as the linear method does."""

from dataclasses import replace
from itertools import pairwise

import anndata as ad
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix
from scipy.spatial.distance import pdist
from tests.conftest import small_vocabulary

from rankformer.corpus.coexpression import weights_of_places
from rankformer.model.encoder import PackedBatch
from rankformer.pretraining.batches import MaskedBatches
from rankformer.pretraining.initialization import _code, initialize_from_coexpression
from rankformer.pretraining.parts import PartsOfWidth
from rankformer.pretraining.pretrain import draw_model
from rankformer.pretraining.trainer import score_masked_genes
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import opened_sources
from rankformer.training.cells import gather_training_cells

ABSENT = 7
SHAPE = {"n_layers": 2, "d_model": 32, "n_heads": 2, "d_ff": 64}


@pytest.fixture
def begun():
    """A model, and the tokens of the cells that it was begun from, in three kinds."""
    vocabulary, rng = small_vocabulary(), np.random.default_rng(0)
    n_genes = len(vocabulary.ensembl_ids)
    mean = rng.gamma(0.5, 1.0, (3, n_genes))[rng.integers(0, 3, 300)]
    counts = rng.poisson(mean).astype(np.float32)
    counts[:, ABSENT] = 0
    adata = ad.AnnData(csr_matrix(counts))
    adata.var_names = list(vocabulary.ensembl_ids)
    model = draw_model(vocabulary, SHAPE, seed=0)
    drawn = model.encoder.embeddings.token.weight.detach().clone()
    with opened_sources(adata, vocabulary, ReadingOptions()) as sources:
        cells = gather_training_cells(sources)
        initialize_from_coexpression(model, cells, np.arange(300), seed=0)
        return model, drawn, cells.take(np.arange(60)), vocabulary


@pytest.mark.parametrize("layer", [0, -1])
@torch.inference_mode()
def test_embedded_cells_lie_as_the_weighted_sums_of_their_genes_do(begun, layer):
    model, _, (values, offsets), vocabulary = begun
    cell = PartsOfWidth.of(model.encoder.spec).cell
    batch = PackedBatch.pack((values, offsets), 0, 60)
    hidden = model.encoder(batch, layer=layer).numpy()[:, cell]
    vectors = model.encoder.embeddings.token.weight.double().numpy()[:, cell]
    embedded, sums = [], []
    for start, stop in pairwise(offsets):
        is_gene = np.isin(values[start:stop], vocabulary.tokens)
        weights = weights_of_places(np.flatnonzero(is_gene))
        genes = vectors[values[start:stop][is_gene]]
        embedded.append(hidden[start:stop][is_gene].mean(axis=0))
        sums.append(weights @ genes / is_gene.sum())
    likeness = np.corrcoef(pdist(np.stack(embedded)), pdist(np.stack(sums)))[0, 1]
    assert likeness > 0.9


def test_special_tokens_and_genes_of_no_cell_stay_as_they_were_of_cells(begun):
    model, drawn, _, vocabulary = begun
    cell = PartsOfWidth.of(model.encoder.spec).cell
    special = list(vocabulary.special_tokens.values())
    now = model.encoder.embeddings.token.weight
    absent = int(vocabulary.tokens[ABSENT])
    for each in (*special, absent):
        assert torch.equal(now[each, cell], drawn[each, cell])
    others = [each for each in vocabulary.tokens.tolist() if each != absent]
    assert (now[others][:, cell] != drawn[others][:, cell]).any(dim=1).float().mean() > 0.9


def test_biases_of_the_head_follow_how_often_genes_are_found(begun):
    """Before training, genes of many cells are the better guess for a masked one."""
    model, _, (values, _), vocabulary = begun
    n_found = np.bincount(values, minlength=vocabulary.size)[vocabulary.tokens]
    biases = model.bias.detach().numpy()[vocabulary.tokens]
    assert np.corrcoef(np.log(n_found + 1), biases)[0, 1] > 0.9


def test_masked_genes_are_named_better_than_by_frequency_before_any_training():
    """Genes with one molecule stand in the order of their medians."""
    n_genes, n_cells = 400, 80
    vocabulary, rng = small_vocabulary(n_genes=n_genes), np.random.default_rng(0)
    vocabulary = replace(vocabulary, medians=rng.uniform(0.5, 1.5, n_genes))
    frequency = rng.uniform(0.05, 0.6, n_genes)
    adata = ad.AnnData(csr_matrix(rng.poisson(frequency, (n_cells, n_genes)).astype(np.float32)))
    adata.var_names = list(vocabulary.ensembl_ids)
    model = draw_model(vocabulary, {**SHAPE, "d_model": 160, "n_heads": 4}, seed=0)
    with opened_sources(adata, vocabulary, ReadingOptions()) as sources:
        cells = gather_training_cells(sources)
        initialize_from_coexpression(model, cells, np.arange(n_cells), seed=0)
        batches = MaskedBatches(cells, 0, 0.15)
        loss = score_masked_genes(model, batches, np.arange(n_cells))["loss"]
        genes = batches(np.arange(n_cells))["genes"].numpy()
    share = np.zeros(vocabulary.size)
    share[vocabulary.tokens] = frequency / frequency.sum()
    assert loss < -np.log(share[genes]).mean() - 0.3


@given(
    numbers=arrays(float, 6, elements=st.floats(-1e4, 1e4)),
    waves=arrays(float, 4, elements=st.floats(2, 1e4)),
    shift=st.floats(-1e3, 1e3),
)
def test_products_of_codes_depend_on_differences_alone(numbers, waves, shift):
    here, there = (_code(each, waves, 9).numpy() for each in (numbers, numbers + shift))
    np.testing.assert_allclose(here @ here.T, there @ there.T, atol=1e-8)
    differences = numbers[:, None] - numbers
    expected = np.cos(2 * np.pi * differences[..., None] / waves).mean(axis=-1)
    np.testing.assert_allclose(here @ here.T, expected, atol=1e-8)
    np.testing.assert_allclose(here.mean(axis=1), 0, atol=1e-12)
