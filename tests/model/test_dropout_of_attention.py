"""Attention with dropout: by which mask, and against float64 statements with that mask."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention

from rankformer.model import attention_trials, dropped_attention
from rankformer.model.attention_by_cell import attend_each
from rankformer.model.attention_by_length import attend_by_length
from rankformer.model.attention_trials import Situation, pick_backend
from rankformer.model.dropped_attention import attend_dropped
from rankformer.model.segments import Segments

CPU = torch.device("cpu")
SHARE = 0.2
# One token; two cells of like length; full to what they are padded to; more than a block.
LENGTHS = (1, 37, 33, 48, 130)
OFFSETS = (0, 1, 38, 71, 119, 249)
BACKENDS = [attend_each, attend_by_length, attend_dropped]


@pytest.fixture(params=BACKENDS, ids=lambda each: each.__name__)
def backend(request):
    return request.param


@pytest.fixture(params=["kept", "computed again", "those of short cells kept"])
def _memory(request, monkeypatch):
    """Whether `attend_dropped` keeps weights, or computes them again in blocks, of odd sizes."""
    if request.param != "kept":
        # Those of the cells of 37 and 33 tokens are the largest that are kept.
        n_kept = 0 if request.param == "computed again" else 3 * 37**2
        monkeypatch.setattr(dropped_attention, "_KEPT", n_kept)
        monkeypatch.setattr(dropped_attention, "_BLOCK", 2_800)


def draw(dtype=torch.float64, n_heads=3, head_size=16):
    generator = torch.Generator().manual_seed(7)
    qkv = torch.randn(OFFSETS[-1], 3, n_heads, head_size, generator=generator, dtype=dtype)
    return qkv.requires_grad_()


def read_weights(backend, qkv, seed):
    """(H, L, L) of each cell: results for values that are one at a single place."""
    query, key, _ = qkv.detach().unbind(1)
    places = torch.cat([torch.arange(length) for length in LENGTHS])
    columns = []
    for first in range(0, max(LENGTHS), query.shape[2]):
        units = (places[:, None] == first + torch.arange(query.shape[2])).to(query)
        torch.manual_seed(seed)
        value = units[:, None].expand_as(query)
        columns.append(backend(query, key, value, Segments.between(OFFSETS), SHARE))
    weights = torch.cat(columns, dim=2)
    return [weights[a:b, :, : b - a].transpose(0, 1) for a, b in pairwise(OFFSETS)]


@pytest.mark.usefixtures("_memory")
def test_results_and_gradients_are_those_of_plain_attention_with_the_same_mask(backend):
    qkv = draw()
    left = [weights > 0 for weights in read_weights(backend, qkv, seed=1)]
    along = torch.randn(OFFSETS[-1], 3, 16, dtype=torch.float64)
    torch.manual_seed(1)
    mixed = backend(*qkv.unbind(1), Segments.between(OFFSETS), SHARE)
    (gradient,) = torch.autograd.grad(mixed, qkv, along)

    n_left = sum(int(each.sum()) for each in left)
    n_weights = sum(each.numel() for each in left)
    # What is left is scaled by the share that was asked for: torch rounds it nowhere.
    rounded = round(SHARE * 2**16) / 2**16 if backend is attend_dropped else SHARE
    cells = []
    for (a, b), own in zip(pairwise(OFFSETS), left, strict=True):
        query, key, value = (each[a:b].transpose(0, 1) for each in qkv.unbind(1))
        weights = (query @ key.mT / 4).softmax(dim=-1)
        cells.append((weights * own / (1 - rounded) @ value).transpose(0, 1))
    expected = torch.cat(cells)
    (expected_gradient,) = torch.autograd.grad(expected, qkv, along)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)
    # Five standard errors.
    spread = math.sqrt(SHARE * (1 - SHARE) / n_weights)
    assert abs(1 - n_left / n_weights - SHARE) < 5 * spread


@pytest.mark.usefixtures("_memory")
def test_seeds_and_calls_have_masks_of_their_own_and_a_seed_repeats_them(backend):
    qkv = draw()
    first, again, other = (read_weights(backend, qkv, seed)[-1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first > 0, other > 0)
    heads = (first > 0).flatten(1).double()
    # Of independent masks: no more alike than chance has it, by five standard errors.
    alike = torch.corrcoef(heads) - torch.eye(3)
    assert (alike.abs() < 5 / heads.shape[1] ** 0.5).all()
    rows = (first[0] > 0).double()
    assert (torch.corrcoef(rows) - torch.eye(130)).abs().max() < 0.6
    torch.manual_seed(1)
    calls = [backend(*qkv.unbind(1), Segments.between(OFFSETS), SHARE) for _ in range(2)]
    assert not torch.equal(*calls)


def test_dropout_changes_no_expected_value():
    qkv = draw(torch.float32).detach()
    segments = Segments.between(OFFSETS)
    torch.manual_seed(0)
    mean = sum(attend_dropped(*qkv.unbind(1), segments, SHARE) for _ in range(400)) / 400
    exact = attend_each(*qkv.unbind(1), segments, 0.0)
    # The largest spread is that of the cell of one token: half of its value.
    assert (mean - exact).abs().max() < 5 * 0.5 * float(exact.abs().max()) / 400**0.5
    assert float((mean - exact).mean().abs()) < 3e-3


@pytest.mark.usefixtures("_memory")
def test_without_dropout_values_and_gradients_are_those_of_torch(backend):
    qkv = draw(torch.float32)
    segments = Segments.between(OFFSETS)
    along = torch.randn(OFFSETS[-1], 3, 16)
    expected, found = (each(*qkv.unbind(1), segments, 0.0) for each in (attend_each, backend))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    # Several gradients of one pass, as along several directions.
    for scale in (1, 2):
        gradients = [
            torch.autograd.grad(each, qkv, scale * along, retain_graph=True)[0]
            for each in (expected, found)
        ]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_sums_are_of_float32(dtype):
    qkv = draw(torch.float32).detach().to(dtype)
    segments = Segments.between(OFFSETS)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        torch.manual_seed(3)
        found = attend_dropped(*qkv.unbind(1), segments, SHARE)
    torch.manual_seed(3)
    exact = attend_dropped(*qkv.double().unbind(1), segments, SHARE)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=2.0**-8, atol=1e-5)


@pytest.mark.parametrize("backend", [attend_by_length, attend_each])
def test_neighbours_change_nothing(backend):
    """Not a bit of a cell's result, for other cells beside it and behind it."""
    qkv = draw(torch.float32).detach()
    together = backend(*qkv.unbind(1), Segments.between(OFFSETS), 0.0)
    for a, b in pairwise(OFFSETS):
        alone = backend(*qkv[a:b].unbind(1), Segments.between((0, b - a)), 0.0)
        assert torch.equal(alone, together[a:b])


def test_padding_follows_from_the_own_length_alone_and_is_little():
    offsets = [0]
    for length in range(1, 5000, 3):
        offsets.append(offsets[-1] + length)
    groups = Segments.between(offsets).padded_groups
    assert sum(n_cells for n_cells, _, _ in groups.shapes) == len(offsets) - 1
    assert len(groups.shapes) < 70
    for length in (1, 16, 17, 128, 200, 2048, 4096):
        ((_, padded, is_padded),) = Segments.between((0, length)).padded_groups.shapes
        assert length <= padded <= max(1.125 * length, length + 15)
        assert padded % 16 == 0
        assert is_padded == (padded > length)
    places = groups.places_P[groups.places_T]
    assert torch.equal(places, torch.arange(offsets[-1]))


# What is found out on a device before a back end is used there.


def without_dropout(query, key, value, segments, dropout):
    return attend_each(query, key, value, segments, 0.0)


def with_too_much(query, key, value, segments, dropout):
    return attend_each(query, key, value, segments, 1.3 * dropout)


def without_scale(query, key, value, segments, dropout):
    return attend_each(query, key, value, segments, dropout) * (1 - dropout)


def of_a_fixed_seed(query, key, value, segments, dropout):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return attend_each(query, key, value, segments, dropout)


def alike_in_all_heads(query, key, value, segments, dropout):
    cells = []
    for a, b in pairwise(segments.offsets):
        q, k, v = (each[a:b].transpose(0, 1) for each in (query, key, value))
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
        mask = drop(torch.ones_like(weights[:1]), dropout)
        cells.append((weights * mask @ v).transpose(0, 1))
    return torch.cat(cells)


class AnotherMaskBackwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, segments, dropout):
        ctx.save_for_backward(query, key, value)
        ctx.given = segments, dropout
        return attend_each(query, key, value, segments, dropout)

    @staticmethod
    def backward(ctx, gradient):
        leaves = [each.detach().requires_grad_() for each in ctx.saved_tensors]
        with torch.enable_grad():
            mixed = attend_each(*leaves, *ctx.given)
        return *torch.autograd.grad(mixed, leaves, gradient), None, None


def another_mask_backwards(*given):
    return AnotherMaskBackwards.apply(*given)


def on_outputs(query, key, value, segments, dropout):
    """As dropout of what was mixed, not of weights."""
    return drop(attend_each(query, key, value, segments, 0.0), dropout)


def at_scores(query, key, value, segments, dropout):
    """The weights that are left sum to one."""
    cells = []
    for a, b in pairwise(segments.offsets):
        q, k, v = (each[a:b].transpose(0, 1)[None] for each in (query, key, value))
        mask = torch.rand(1, q.shape[1], b - a, b - a) >= dropout
        mask |= torch.eye(b - a, dtype=torch.bool)
        cells.append(scaled_dot_product_attention(q, k, v, attn_mask=mask)[0].transpose(0, 1))
    return torch.cat(cells)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (without_dropout, "drops a share of 0.000 where 0.25 was asked for"),
        (with_too_much, "drops a share of 0.32"),
        (without_scale, "with dropout"),
        (of_a_fixed_seed, "drops the same weights at each call"),
        (alike_in_all_heads, "of each head"),
        (another_mask_backwards, "with dropout"),
        (on_outputs, "with dropout"),
        (at_scores, "with dropout"),
        (attend_by_length, None),
        (attend_dropped, None),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_dropout_that_is_wrong_is_refused(monkeypatch, caplog, backend, said, dtype):
    monkeypatch.setattr(attention_trials, "_COMPARED_LENGTHS", (1, 37, 90))
    monkeypatch.setattr(attention_trials, "_TIMED_LENGTHS", (30,))
    monkeypatch.setattr(attention_trials, "_TOLERATED_SLOWNESS", 1e3)
    state = torch.get_rng_state()
    situation = Situation(CPU, dtype, has_dropout=True)
    chosen = pick_backend([backend, attend_each], situation)
    assert chosen is (attend_each if said else backend)
    assert said is None or said in caplog.text
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_dropout_is_right(dtype):
    """Of all back ends that are there: some kernel that takes all cells at once is among them."""
    from rankformer.model.cuda.flash import installed_backends

    kinds = installed_backends(torch.device("cuda"), dtype, has_dropout=True, has_gradients=True)
    situation = Situation(torch.device("cuda"), dtype, has_dropout=True)
    faults = {
        str(each): attention_trials._fault_of_dropout(each, situation)
        for each in [*kinds, attend_by_length]
    }
    assert not any(faults.values()), faults
    assert kinds
