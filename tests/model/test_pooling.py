"""Means over gene tokens against numpy's float64."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rankformer.model.pooling import GenePlaces, cls_of_cells, mean_of_genes


@settings(deadline=None)
@example(lengths=[64, 64, 66, 4096], frame=(1, 1), centre=3.0)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 2, 3, 64, 65, 66, 67, 300, 4096]), max_size=6),
    frame=st.sampled_from([(0, 0), (1, 1)]),
    centre=st.sampled_from([0.0, 3.0]),
)
def test_means_leave_out_special_tokens_and_lose_no_digits(lengths, frame, centre):
    offsets = np.cumsum([0, *lengths])
    hidden = np.random.default_rng(0).normal(centre, 1, (offsets[-1], 3)).astype(np.float32)
    found = mean_of_genes(torch.from_numpy(hidden), GenePlaces.of_cells(offsets, *frame)).numpy()
    assert found.shape == (len(lengths), 3)
    for cell, (start, stop) in enumerate(pairwise(offsets)):
        genes = hidden[start + frame[0] : max(stop - frame[1], start)].astype(np.float64)
        if len(genes):
            np.testing.assert_allclose(found[cell], genes.mean(axis=0), rtol=0, atol=1e-6)
        else:
            assert np.isnan(found[cell]).all()


def test_cls_is_the_first_token_of_cells_with_genes():
    offsets = np.array([0, 5, 7, 7, 10])
    hidden = torch.arange(20.0).view(10, 2)
    found = cls_of_cells(hidden, offsets, GenePlaces.of_cells(offsets, 1, 1))
    expected = torch.tensor([[0.0, 1.0], [torch.nan] * 2, [torch.nan] * 2, [14.0, 15.0]])
    torch.testing.assert_close(found, expected, equal_nan=True)
