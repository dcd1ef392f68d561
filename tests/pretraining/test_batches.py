"""Views of cells: how many genes of them are shown."""

import anndata as ad
import numpy as np
import pytest
from tests.conftest import small_counts, small_vocabulary

from rankformer.pretraining.batches import MaskedBatches
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import opened_sources
from rankformer.training.cells import gather_training_cells

SHORTEST = 10


@pytest.fixture
def cells():
    """Forty cells with more genes in either half than the model takes."""
    vocabulary = small_vocabulary()
    adata = ad.AnnData(small_counts(40, len(vocabulary.ensembl_ids), seed=0, mean=3))
    adata.var_names = list(vocabulary.ensembl_ids)
    with opened_sources(adata, vocabulary, ReadingOptions()) as sources:
        yield gather_training_cells(sources)


def most_genes(cells, **how):
    """Of each of 60 batches: the genes of its longest view."""
    batches = MaskedBatches(cells, seed=0, masked_share=0.15, two_views=True, **how)
    lengths = [np.diff(batches([40 * each, 40 * each + 1])["offsets"]) for each in range(60)]
    return np.array([own.max() for own in lengths]) - cells.vocabulary.n_frame_tokens


def test_views_end_after_a_number_of_genes_that_is_drawn_for_each_batch(cells):
    whole, cropped = most_genes(cells), most_genes(cells, shortest_view=SHORTEST)
    most = cells.vocabulary.input_length - cells.vocabulary.n_frame_tokens
    assert (whole == most).all()
    assert SHORTEST <= cropped.min() < 20
    assert most - 20 < cropped.max() <= most
    assert len(np.unique(cropped)) > 15
