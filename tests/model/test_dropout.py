"""Dropout on CPUs: how often, what is kept, and what gradients pass."""

import math

import pytest
import torch

from rankformer.model.dropout import draw_dropped, drop
from rankformer.model.operations import drop as drop_anywhere


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("shape", [(1000, 333), (7,), (0, 3)])
def test_each_number_is_dropped_with_its_chance_and_others_keep_the_sum(share, shape):
    torch.manual_seed(0)
    given = torch.rand(shape, dtype=torch.float64) + 1
    found = drop(given.clone(), share)
    kept = found != 0
    torch.testing.assert_close(found[kept], given[kept] / (1 - share), rtol=1e-3, atol=0)
    spread = math.sqrt(share * (1 - share) / max(given.numel(), 1))
    dropped = 1 - float(kept.double().mean()) if given.numel() else share
    assert abs(dropped - share) <= 5 * spread
    if given.numel() > 1e5:
        # The expected sum stays: the scale fits the chance as it was rounded.
        assert float(found.mean() / given.mean()) == pytest.approx(1, abs=5 * spread / (1 - share))


def test_a_chance_that_rounds_to_none_or_to_all():
    given = torch.ones(10_000)
    assert torch.equal(drop(given.clone(), 1e-7), given)
    assert torch.isfinite(drop(given.clone(), 1 - 1e-9)).all()


def test_numbers_that_share_a_draw_are_dropped_independently():
    torch.manual_seed(1)
    dropped = draw_dropped((200_000, 4), 0.3).double()
    alike = torch.corrcoef(dropped.T) - torch.eye(4)
    assert alike.abs().max() < 5 / 200_000**0.5
    behind = torch.corrcoef(torch.stack([dropped[1:].flatten(), dropped[:-1].flatten()]))
    assert behind[0, 1].abs() < 5 / 800_000**0.5


def test_it_is_in_place_and_gradients_pass_where_numbers_were_kept():
    leaf = torch.randn(40, 8, requires_grad=True)
    given = leaf * 1
    found = drop(given, 0.25)
    assert found.data_ptr() == given.data_ptr()
    (gradient,) = torch.autograd.grad(found.sum(), leaf)
    assert torch.equal(gradient, (found != 0) / 0.75)


def test_a_seed_repeats_it():
    first, other, again = [], [], []
    for seed, found in ((1, first), (2, other), (1, again)):
        torch.manual_seed(seed)
        found += [draw_dropped((50, 50), 0.3) for _ in range(2)]
    assert torch.equal(torch.stack(first), torch.stack(again))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])


def test_without_dropout_nothing_is_drawn_or_touched():
    given = torch.randn(3, 3)
    state = torch.get_rng_state()
    assert drop_anywhere(given, 0.0) is given
    assert torch.equal(torch.get_rng_state(), state)
