"""Which operations are taken: fused ones only where they run, and give what the plain ones give."""

import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from rankformer.model import operations
from rankformer.model.cuda import chosen_operations
from rankformer.model.cuda.chosen_operations import (
    Situation,
    choose_operations,
    operations_for,
    pick_operations,
)
from rankformer.model.operations import PLAIN

OTHER = replace(PLAIN, name="others")
SITUATIONS = [
    Situation(torch.device("cpu"), dtype, dtype, 64, has_gradients)
    for dtype in (torch.float32, torch.bfloat16)
    for has_gradients in (False, True)
]


def without_bias(update, hidden, norm, dropout):
    return operations.add_norm(update, hidden, norm, dropout) - norm.bias


def without_hidden(update, hidden, norm, dropout):
    return norm(update + 0 * hidden)


def without_the_last_row(update, hidden, norm, dropout):
    """As a kernel that forgets what is no whole tile."""
    found = operations.add_norm(update, hidden, norm, dropout)
    return torch.cat([found[:-1], torch.zeros_like(found[-1:])])


def nowhere(update, hidden, norm, dropout):
    return operations.add_norm(update, hidden, norm, dropout) * torch.nan


def in_another_dtype(update, hidden, norm, dropout):
    return operations.add_norm(update, hidden, norm, dropout).double()


def without_position(parts, tokens, positions):
    return operations.embed(parts, tokens, positions * 0)


def without_activation(linear, hidden, activation):
    return linear(hidden)


def of_all_places(hidden, places, offsets):
    found = operations.mean_of_places(hidden, places, offsets)
    return found[:1].expand_as(found).nan_to_num()


def broken(*_):
    raise RuntimeError("no kernel image is available for execution on the device")


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
@pytest.mark.parametrize(
    ("part", "fault", "said"),
    [
        ("add_norm", without_bias, r"others are off by .* in norms"),
        ("add_norm", without_hidden, r"in norms"),
        ("add_norm", without_the_last_row, r"in norms"),
        ("add_norm", nowhere, r"nan in norms"),
        ("add_norm", in_another_dtype, r"inf in norms"),
        ("embed", without_position, r"in embeddings"),
        ("expand", without_activation, r"in products"),
        ("mean_of_places", of_all_places, r"in means"),
        ("add_norm", broken, r"others do not run \(no kernel image"),
    ],
)
def test_wrong_operations_are_refused(caplog, situation, part, fault, said):
    state = torch.get_rng_state()
    taken = pick_operations(lambda: replace(OTHER, **{part: fault}), situation)
    assert taken is PLAIN
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert re.search(said, record.getMessage()), record.getMessage()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("part", "said"), [("add_norm", "in gradients of sums"), ("expand", "in gradients of inputs")]
)
def test_wrong_gradients_are_refused_where_they_may_pass(caplog, part, said):
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, tensor):
            return tensor.clone()

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    def add_norm(update, hidden, norm, dropout):
        return operations.add_norm(Doubled.apply(update), hidden, norm, dropout)

    def expand(linear, hidden, activation):
        return operations.expand(linear, Doubled.apply(hidden), activation)

    def load():
        return replace(OTHER, **{part: {"add_norm": add_norm, "expand": expand}[part]})

    for situation in SITUATIONS:
        caplog.clear()
        taken = pick_operations(load, situation)
        assert (taken is PLAIN) == situation.has_gradients
        assert (said in caplog.text) == situation.has_gradients


def no_dropout(update, hidden, norm, dropout):
    return operations.add_norm(update, hidden, norm, 0.0)


def unscaled(update, hidden, norm, dropout):
    return operations.add_norm(update * (1 - dropout), hidden, norm, dropout)


def too_little(update, hidden, norm, dropout):
    return operations.add_norm(update, hidden, norm, 0.8 * dropout)


def behind_the_norm(update, hidden, norm, dropout):
    return torch.dropout(operations.add_norm(update, hidden, norm, 0.0), dropout, True)


def of_the_hidden_too(update, hidden, norm, dropout):
    return norm(operations.drop(update + hidden, dropout))


def always_alike(update, hidden, norm, dropout):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return operations.add_norm(update, hidden, norm, dropout)


@pytest.mark.parametrize("situation", [each for each in SITUATIONS if each.has_gradients], ids=str)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (no_dropout, "what is dropped"), (unscaled, "norms with dropout"),
        (too_little, "what is dropped"), (behind_the_norm, "norms with dropout"),
        (of_the_hidden_too, "gradients beside dropout"), (always_alike, "what is dropped"),
    ],
)  # fmt: skip
def test_wrong_dropout_is_refused(caplog, situation, fault, said):
    state = torch.get_rng_state()
    assert pick_operations(lambda: replace(OTHER, add_norm=fault), situation) is PLAIN
    assert said in caplog.text
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
@pytest.mark.parametrize("inference", [False, True])
def test_right_operations_are_taken_and_told(caplog, situation, inference):
    caplog.set_level("INFO")
    with torch.inference_mode(inference):
        taken = pick_operations(lambda: OTHER, situation)
    assert taken is OTHER
    assert caplog.messages == [f"Sums and norms on {situation}: others."]


def test_without_triton_the_log_says_so(caplog):
    def load():
        raise ImportError("No module named 'triton'")

    assert pick_operations(load, SITUATIONS[0]) is PLAIN
    assert "Triton cannot be imported" in caplog.text


def test_memory_that_runs_out_says_nothing_of_the_kernels():
    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        pick_operations(lambda: replace(OTHER, embed=exhausted), SITUATIONS[0])


def test_a_cpu_takes_the_plain_ones_and_loads_no_triton():
    assert operations_for(torch.zeros(3, 512)) is PLAIN
    script = (
        "import sys\nimport numpy as np\nfrom rankformer import Embedder\n"
        "embedder = Embedder('rankformer-mini', device='cpu', dtype='float32')\n"
        "embedder.cells((np.array([5, 6, 7], np.int32), np.array([0, 3])))\n"
        "assert 'triton' not in sys.modules, 'Triton was imported'"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_chosen_for_is_how_the_call_computes(monkeypatch):
    """A stand-in for hidden states on a card, of which only this is asked."""
    asked = []
    monkeypatch.setattr(chosen_operations, "choose_operations", asked.append)
    card = torch.device("cuda", 0)

    def situation(dtype=torch.float32, width=512):
        asked.clear()
        states = SimpleNamespace(device=card, dtype=dtype, shape=(5, width))
        return (operations_for(states), *asked)[-1]

    full, half = torch.float32, torch.bfloat16
    assert situation() == Situation(card, full, full, 512, True)
    with torch.inference_mode():
        assert situation(half, 768) == Situation(card, half, half, 768, False)
    # torch.autocast itself wants a card.
    before = torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", half)
    try:
        assert situation() == Situation(card, full, half, 512, True)
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", before)
    # No kernels for these.
    assert situation(width=3) is PLAIN
    assert situation(torch.float64) is PLAIN


def test_the_choice_is_made_once_a_process(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(chosen_operations, "_load_fused", lambda: OTHER)
    choose_operations.cache_clear()
    assert [choose_operations(each) for each in (*SITUATIONS, *SITUATIONS)] == [OTHER] * 8
    assert len(caplog.messages) == len(SITUATIONS)
    choose_operations.cache_clear()
