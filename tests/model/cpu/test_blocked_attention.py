"""Attention as products of blocks against softmax(QKᵀ/√K)V in float64."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankformer.model import precision
from rankformer.model.attention import Segments, attend
from rankformer.model.cpu.blocked_attention import attend_blocked
from rankformer.model.precision import choose_attention

CPU = torch.device("cpu")


def mix_plainly(query, key, value, offsets):
    """All cells and heads, (T, H, K), in float64."""
    query, key, value = (each.double().transpose(0, 1) for each in (query, key, value))
    mixed = []
    for start, stop in pairwise(offsets):
        scores = query[:, start:stop] @ key[:, start:stop].mT / query.shape[-1] ** 0.5
        mixed.append(scores.softmax(-1) @ value[:, start:stop])
    return torch.cat(mixed, 1).transpose(0, 1)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from([1, 2, 127, 128, 129, 300]), min_size=1, max_size=4),
    st.sampled_from([1, 3]),
    st.sampled_from([16, 64]),
)
def test_equals_the_formula(lengths, n_heads, head_size):
    offsets = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    # Views of one product, as `Layer.project` gives them.
    qkv = torch.randn(offsets[-1], 3, n_heads, head_size, generator=torch.manual_seed(sum(lengths)))
    expected = mix_plainly(*qkv.unbind(1), offsets)
    mixed = attend_blocked(*qkv.unbind(1), Segments.between(offsets), 0.0)
    torch.testing.assert_close(mixed.double(), expected, rtol=0, atol=1e-5)
    # A score, a weight and a sum are rounded to 8 bits each.
    half = attend_blocked(*qkv.bfloat16().unbind(1), Segments.between(offsets), 0.0)
    assert half.dtype == torch.bfloat16
    of_half = mix_plainly(*qkv.bfloat16().unbind(1), offsets)
    torch.testing.assert_close(half.double(), of_half, rtol=0.02, atol=0.05)


def test_no_cell_knows_its_neighbours():
    qkv = torch.randn(60, 3, 2, 64).bfloat16()
    qkv[30:] = torch.nan
    query, key, value = qkv.unbind(1)
    mixed = attend_blocked(query, key, value, Segments.between([0, 30, 60]), 0.0)
    alone = attend_blocked(query[:30], key[:30], value[:30], Segments.between([0, 30]), 0.0)
    torch.testing.assert_close(mixed[:30], alone, rtol=0, atol=0)


@pytest.mark.parametrize(("slow", "expected"), [(attend, attend_blocked), (attend_blocked, attend)])
def test_on_cpus_with_amx_the_faster_is_taken(monkeypatch, caplog, slow, expected):
    def wait_longer(run):
        def slowed(*given):
            for _ in range(10):
                run(*given)
            return run(*given)

        return slowed

    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_vnni", "amx_bf16"})
    slowed = wait_longer(slow)
    monkeypatch.setattr(precision, slow.__name__, slowed)
    precision._blocks_are_faster.cache_clear()
    try:
        with caplog.at_level("INFO", "rankformer"):
            assert choose_attention("bfloat16", CPU) is expected
    finally:
        precision._blocks_are_faster.cache_clear()
    assert "Attention in bfloat16" in caplog.text
    assert choose_attention("float32", CPU) is precision.attend
