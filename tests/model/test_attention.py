"""Every back end of attention against softmax(QKᵀ/√K)V in float64, a cell at a time."""

import logging
import re
import time
from itertools import pairwise

import pytest
import torch

from rankformer.model import attention_trials
from rankformer.model.attention import attend, choose_backend
from rankformer.model.attention_by_cell import attend_each
from rankformer.model.attention_by_length import attend_by_length
from rankformer.model.attention_trials import Situation, pick_backend
from rankformer.model.cuda.flash import KINDS, load_backend
from rankformer.model.dropped_attention import attend_dropped
from rankformer.model.segments import Segments

# A cell without tokens, one of one token, one longer than a block of any kernel.
OFFSETS = (0, 40, 40, 41, 300)
CPU = torch.device("cpu")


def heads(device="cpu", dtype=torch.float32):
    """Query, key and value as `Layer.project` gives them: views of one product."""
    torch.manual_seed(0)
    qkv = torch.randn(OFFSETS[-1], 3, 2, 64, dtype=torch.float64)
    return qkv.to(device, dtype).unbind(1)


def mix_plainly(query, key, value):
    mixed = []
    for start, stop in pairwise(OFFSETS):
        q, k, v = (each[start:stop].double().transpose(0, 1) for each in (query, key, value))
        mixed.append(((q @ k.mT / 8).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(mixed)


def test_cells_attend_to_themselves_alone():
    qkv = heads()
    mixed = attend(*qkv, Segments.between(OFFSETS), 0.0)
    torch.testing.assert_close(mixed.double(), mix_plainly(*qkv), atol=1e-6, rtol=0)


def test_the_cpu_attends_a_cell_at_a_time_in_any_dtype():
    for dtype in (torch.float32, torch.bfloat16):
        for has_dropout, expected in ((False, attend_each), (True, attend_dropped)):
            chosen = choose_backend(
                torch.device("cpu"), dtype, has_dropout=has_dropout, has_gradients=has_dropout
            )
            assert chosen is expected


def broken(*_):
    raise RuntimeError("no kernel image is available for execution on the device")


def wrong(query, key, value, segments, dropout):
    """As if all cells were one."""
    return attend_each(query, key, value, Segments.between((0, len(query))), dropout)


def without_gradients(*arguments):
    return attend_each(*arguments).detach()


def slow(*arguments):
    time.sleep(0.6)
    return attend_each(*arguments)


def only_short(query, key, value, segments, dropout):
    """Its kernel for longer cells is missing."""
    if segments.longest == 60:
        raise RuntimeError("no kernel image is available for execution on the device")
    return attend_each(query, key, value, segments, dropout)


def other(*arguments):
    return attend_each(*arguments)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (broken, "does not run on cpu: no kernel image"),
        (wrong, "is off by"),
        (without_gradients, "does not run"),
        (only_short, "does not run on cpu: no kernel image"),
        (slow, "A try took: .* slow .* ms"),
        (other, None),
    ],
)
@pytest.mark.parametrize("inference", [True, False])
def test_a_back_end_is_taken_only_if_it_is_right_and_fast_here(
    monkeypatch, caplog, first, said, inference
):
    monkeypatch.setattr(attention_trials, "_TIMED_LENGTHS", (30, 60))
    monkeypatch.setattr(attention_trials, "_TIMES", 1)
    # Well below what `slow` takes, and beyond what a busy machine does to others.
    monkeypatch.setattr(attention_trials, "_TOLERATED_SLOWNESS", 15)
    state = torch.get_rng_state()
    with caplog.at_level(logging.INFO), torch.inference_mode(inference):
        chosen = pick_backend([first, attend_each], Situation(CPU, torch.bfloat16))
    assert chosen is (attend_each if said else first)
    assert said is None or re.search(said, caplog.text)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("first", [broken, wrong, only_short])
def test_without_gradients_a_back_end_must_be_right_too(monkeypatch, first):
    monkeypatch.setattr(attention_trials, "_TIMED_LENGTHS", (30, 60))
    situation = Situation(CPU, torch.bfloat16, has_gradients=False)
    chosen = pick_backend([first, attend_each], situation)
    assert chosen is attend_each


def test_a_back_end_without_a_backward_pass_is_taken_where_no_gradients_pass(monkeypatch):
    monkeypatch.setattr(attention_trials, "_TIMED_LENGTHS", (30, 60))
    monkeypatch.setattr(attention_trials, "_TOLERATED_SLOWNESS", 50)
    candidates = [without_gradients, attend_each]
    for has_gradients, expected in ((False, without_gradients), (True, attend_each)):
        situation = Situation(CPU, torch.bfloat16, has_gradients=has_gradients)
        chosen = pick_backend(candidates, situation)
        assert chosen is expected


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.name)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_back_ends_on_a_gpu_agree(kind, dtype):
    generation = torch.cuda.get_device_capability()[0]
    if not kind.fits(generation, dtype, has_dropout=False, has_gradients=False):
        pytest.skip(f"not made for {dtype} on cards of compute capability {generation}")
    backend = load_backend(kind)
    if backend is None:
        pytest.skip(f"{kind.module} is not installed")
    qkv = heads("cuda", dtype)
    mixed = backend(*qkv, Segments.between(OFFSETS, "cuda"), 0.0)
    torch.testing.assert_close(mixed.double(), mix_plainly(*qkv), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_attention_on_a_gpu_is_right(dtype):
    """By whatever is chosen there, and a cell at a time."""
    qkv = heads("cuda", dtype)
    for compute in (attend, attend_by_length, attend_each):
        mixed = compute(*qkv, Segments.between(OFFSETS, "cuda"), 0.0)
        torch.testing.assert_close(mixed.double(), mix_plainly(*qkv), atol=1e-2, rtol=1e-2)


def test_gradients_are_those_of_plain_attention():
    leaf = torch.randn(OFFSETS[-1], 3, 2, 64, requires_grad=True)
    mix_plainly(*leaf.unbind(1)).square().sum().backward()
    expected, leaf.grad = leaf.grad, None
    attend(*leaf.unbind(1), Segments.between(OFFSETS), 0.0).square().sum().backward()
    torch.testing.assert_close(leaf.grad, expected, atol=1e-4, rtol=1e-3)
