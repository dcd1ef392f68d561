"""Which dtype "auto" is."""

import pytest
import torch

from rankformer.model import precision
from rankformer.model.precision import choose_dtype
from rankformer.model.spec import EncoderSpec

CPU = torch.device("cpu")
SPEC = EncoderSpec(100, 1, 256, 4, 512, 512)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    precision._bfloat16_is_faster.cache_clear()
    yield
    precision._bfloat16_is_faster.cache_clear()


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ({"avx2"}, torch.float32),
        ({"avx512f", "avx512_bf16", "amx_bf16"}, torch.bfloat16),
        (set(), torch.float32),
    ],
)
def test_cpus_that_need_no_measurement(monkeypatch, flags, dtype):
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)
    monkeypatch.setattr(precision, "_measure_gain", None)
    assert choose_dtype("auto", CPU, SPEC) is dtype


def test_a_narrow_model_runs_in_float32(monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512f", "avx512_bf16", "amx_bf16"})
    narrow = EncoderSpec(100, 1, 128, 2, 256, 512)
    assert choose_dtype("auto", CPU, narrow) is torch.float32
    assert choose_dtype("bfloat16", CPU, narrow) is torch.bfloat16


def test_the_measurement_finds_the_slower_dtype_and_puts_the_threads_back(monkeypatch):
    """A dtype that is made to work three times as long is told from one that is not."""
    real = precision._layer_work

    def slow_bfloat16(d_model, n_heads, dtype):
        work = real(d_model, n_heads, torch.float32)
        return (lambda: [work() for _ in range(3)]) if dtype is torch.bfloat16 else work

    monkeypatch.setattr(precision, "_layer_work", slow_bfloat16)
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_bf16"})
    before = torch.get_num_threads()
    assert choose_dtype("auto", CPU, SPEC) is torch.float32
    assert torch.get_num_threads() == before
    monkeypatch.setattr(precision, "_layer_work", None)
    assert choose_dtype("auto", CPU, SPEC) is torch.float32  # once measured, remembered
