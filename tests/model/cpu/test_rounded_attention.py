"""Attention on rounded inputs against softmax(QKᵀ/√K)V in float64, within what rounding can do."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import save_small_checkpoint, small_vocabulary

from rankformer import Checkpoint, Embedder
from rankformer.model import precision
from rankformer.model.attention import Segments, attend
from rankformer.model.cpu.flags import cpu_flags
from rankformer.model.cpu.rounded_attention import attend_rounded
from rankformer.model.precision import choose_attention

pytestmark = pytest.mark.skipif(
    "avx512_vnni" not in cpu_flags(), reason="needs a CPU with AVX512-VNNI"
)
# Half the distance of two neighbouring whole numbers, over the largest.
HALF = 0.5 / 4095
BLOCK = 128


def heads(n_tokens, n_heads=2, head_size=64, scale=1.0, seed=0):
    """Query, key and value as `Layer.project` gives them: views of one product."""
    generator = torch.Generator().manual_seed(seed)
    qkv = scale * torch.randn(n_tokens, 3, n_heads, head_size, generator=generator)
    return qkv.unbind(1)


def mix_plainly(query, key, value):
    """One cell and head, (L, K) each, in float64: weights and what they mix."""
    query, key, value = (each.double() for each in (query, key, value))
    weights = (query @ key.T / query.shape[1] ** 0.5).softmax(-1)
    return weights, weights @ value


def largest_error(query, key, value):
    """What rounding to whole numbers can do at most, (L, K), of one cell and head."""
    query, key, value = (each.double() for each in (query, key, value))
    weights, _ = mix_plainly(query, key, value)
    key, value = key - key.mean(0), value - value.mean(0)
    steps = HALF * query.abs().amax(1, keepdim=True), HALF * key.abs().max()
    of_scores = steps[0] * (key.abs() + steps[1]).sum(1) + query.abs().sum(1)[:, None] * steps[1]
    # A weight is off by this factor at most, once for itself and once for the sum of all.
    factor = torch.expm1(2 * of_scores.amax(1, keepdim=True) / query.shape[1] ** 0.5 + 1e-5)
    rounding = sum(
        block.amax(1, keepdim=True) * block.shape[1] for block in weights.split(BLOCK, 1)
    )
    far = 2 * value.abs().max()
    return far * (factor + 2 * (1 + factor) * HALF * rounding) + HALF * far + 1e-6


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=4),
    st.sampled_from([1, 2, 20, 32, 33, 64, 128]),
    st.floats(0.01, 3),
    st.integers(0, 2**32 - 1),
)
def test_it_is_attention_but_for_rounding(lengths, head_size, scale, seed):
    offsets = [0, *np.cumsum(lengths).tolist()]
    qkv = heads(offsets[-1], 2, head_size, scale, seed)
    mixed = attend_rounded(*qkv, Segments.between(offsets), 0.0)
    for start, stop in pairwise(offsets):
        for head in range(2):
            own = [each[start:stop, head] for each in qkv]
            error = (mixed[start:stop, head].double() - mix_plainly(*own)[1]).abs()
            # The largest numbers are fewer where more products are summed.
            bound = largest_error(*own) * max(1, head_size / 64)
            assert (error <= bound).all()


def test_it_is_nearer_than_bfloat16():
    query, key, value = heads(700)
    segments = Segments.between([0, 700])
    exact = attend(query.double(), key.double(), value.double(), segments, 0.0)
    rounded = attend_rounded(query, key, value, segments, 0.0)
    halves = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), segments, 0.0)
    assert (rounded - exact).norm() < 0.3 * (halves - exact).norm()


def test_what_all_keys_share_costs_no_digits():
    """Softmax does not see it; taken along, it would take most of the 13 bits."""
    query, key, value = heads(200)
    segments = Segments.between([0, 200])
    exact = attend(query.double(), key.double(), value.double(), segments, 0.0)
    shifted = attend_rounded(query, key + 100, value, segments, 0.0)
    torch.testing.assert_close(shifted.double(), exact, rtol=0, atol=0.03)


def test_a_cell_is_the_same_to_the_bit_beside_others_and_on_more_threads():
    qkv = heads(500, n_heads=3)
    together = attend_rounded(*qkv, Segments.between([0, 77, 78, 500]), 0.0)
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 2, 8):
            torch.set_num_threads(n_threads)
            for start, stop in pairwise([0, 77, 78, 500]):
                own = (each[start:stop] for each in qkv)
                alone = attend_rounded(*own, Segments.between([0, stop - start]), 0.0)
                assert torch.equal(alone, together[start:stop])
    finally:
        torch.set_num_threads(before)


def test_bfloat16_goes_in_and_comes_out():
    query, key, value = (each.bfloat16() for each in heads(90))
    segments = Segments.between([0, 90])
    mixed = attend_rounded(query, key, value, segments, 0.0)
    wide = attend_rounded(query.float(), key.float(), value.float(), segments, 0.0)
    assert torch.equal(mixed, wide.bfloat16())


def test_zeros_and_what_is_no_number():
    query, key, value = (each.clone() for each in heads(60))
    key[:30], query[30:] = 0, torch.nan
    mixed = attend_rounded(query, key, value, Segments.between([0, 30, 60]), 0.0)
    mean = value[:30].mean(0).expand(30, -1, -1)
    torch.testing.assert_close(mixed[:30], mean, rtol=0, atol=1e-3)
    assert mixed[30:].isnan().all()


@pytest.mark.parametrize(
    ("dtype", "flags", "expected"),
    [
        ("float32", {"avx512_vnni"}, attend),
        ("bfloat16", {"avx512_vnni"}, attend_rounded),
        ("bfloat16", {"avx512_bf16"}, attend),
        ("int8", {"avx512_vnni", "amx_bf16"}, attend_rounded),
        ("float16", {"avx512_vnni"}, attend),
    ],
)
def test_it_is_taken_where_it_is_faster_and_close_enough(monkeypatch, dtype, flags, expected):
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)
    assert choose_attention(dtype, torch.device("cpu")) is expected
    assert choose_attention(dtype, torch.device("cuda")) is attend


def test_a_trained_model_says_the_same_in_bfloat16():
    checkpoint = Checkpoint.open("rankformer-mini")
    rng = np.random.default_rng(0)
    cells = [rng.permutation(checkpoint.vocabulary.tokens)[:n] for n in [40, 200, 500] * 8]
    ragged = np.concatenate(cells).astype(np.int32), np.cumsum([0, *map(len, cells)])
    full, half = (
        Embedder(checkpoint, device="cpu", dtype=dtype).cells(ragged)
        for dtype in ("float32", "bfloat16")
    )
    # As near as vectors of a cosine of 0.9999 lie, against the length of the tokens of a cell.
    length = float(checkpoint.encoder().layers[-1].ffn_norm.weight.detach().norm())
    error = np.linalg.norm(full - half, axis=1) / length
    assert error.max() < np.arccos(0.9999)


def test_a_model_in_training_keeps_its_gradients(tmp_path):
    """Its embeddings are asked for in between, in bfloat16."""
    checkpoint = Checkpoint.open(save_small_checkpoint(tmp_path / "small", small_vocabulary()))
    encoder = checkpoint.encoder().train()
    Embedder(checkpoint, device="cpu", dtype="bfloat16", encoder=encoder)
    query, key, value = (each.requires_grad_() for each in map(torch.clone, heads(20, 1)))
    encoder.layers[0].attend(query, key, value, Segments.between([0, 20]), 0.0).sum().backward()
    assert value.grad.abs().sum() > 0
