"""How much goes through a model at once: by what is free on the device, and what it says is not."""

import numpy as np
import psutil
import pytest
import torch

from rankformer.errors import OutOfMemoryError
from rankformer.model import batching
from rankformer.model.batching import TokenBudget, run_batches
from rankformer.model.spec import EncoderSpec

CPU = torch.device("cpu")


def spec_of(d_model, d_ff):
    return EncoderSpec(10, n_layers=1, d_model=d_model, n_heads=1, d_ff=d_ff, max_positions=8)


@pytest.mark.parametrize(
    ("d_ff_times", "hidden_states"),
    [
        (1, 6),  # hidden state, query, key, value, mixed values and their projection
        (4, 11),  # three of these, and the middle of the feed-forward layer before and after
    ],
)
@pytest.mark.parametrize(("dtype", "n_bytes"), [(torch.float32, 4), (torch.bfloat16, 2)])
@pytest.mark.parametrize("n_at_once", [1, 3])
def test_half_of_the_free_memory_is_used(
    monkeypatch, d_ff_times, hidden_states, dtype, n_bytes, n_at_once
):
    free, width = 2**30, 2**16
    monkeypatch.setattr(batching, "_free_bytes", lambda device: free)
    spec = spec_of(width, d_ff_times * width)
    budget = TokenBudget.for_memory(spec, CPU, dtype, n_at_once=n_at_once)
    each = hidden_states * width * n_bytes * n_at_once
    assert budget.n_tokens * each <= free / 2 < (budget.n_tokens + 1) * each
    if n_at_once == 1:
        assert TokenBudget.for_memory(spec, CPU, dtype).n_tokens == budget.n_tokens


@pytest.mark.parametrize(
    ("device", "n_tokens"), [("cpu", 2048), ("mps", 32_768), ("cuda", 131_072), ("meta", 16_384)]
)
def test_no_more_than_brings_speed(monkeypatch, device, n_tokens):
    monkeypatch.setattr(batching, "_free_bytes", lambda device: 2**60)
    budget = TokenBudget.for_memory(spec_of(64, 64), torch.device(device), torch.float32)
    assert (budget.n_tokens, budget.batch_size) == (n_tokens, None)


def test_one_token_where_nothing_is_free(monkeypatch):
    monkeypatch.setattr(batching, "_free_bytes", lambda device: 0)
    budget = TokenBudget.for_memory(spec_of(64, 64), CPU, torch.float32, batch_size=7)
    assert (budget.n_tokens, budget.batch_size) == (1, 7)


@pytest.mark.parametrize(
    ("n_tokens", "failed", "after"), [(100, 100, 50), (100, 31, 15), (1, 1, 1)]
)
def test_a_budget_is_halved_down_to_one(n_tokens, failed, after):
    budget = TokenBudget(n_tokens)
    budget.shrink(failed)
    assert budget.n_tokens == after
    assert isinstance(budget.n_tokens, int)


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory",
        "[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: not enough memory: you tried to",
        "MPS backend out of memory (MPS allocated: 8.50 GB)",
    ],
)
def test_what_allocators_say(message):
    def compute(start, stop):
        raise RuntimeError(message)

    with pytest.raises(OutOfMemoryError):
        list(run_batches(compute, torch.tensor([0, 3]).numpy(), TokenBudget(10)))


@pytest.fixture
def control_group(monkeypatch, tmp_path):
    """Files of a control group, as Linux has them under /sys/fs/cgroup."""

    class Path(type(tmp_path)):
        def __new__(cls, name):
            folder, _, own = str(name).rpartition("/")
            return tmp_path / own if folder == "/sys/fs/cgroup" else type(tmp_path)(name)

    monkeypatch.setattr(batching, "Path", Path)

    def write(limit, used):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")

    return write


def test_a_container_may_leave_less_than_the_machine(control_group):
    control_group(5_000_000, 1_999_000)
    assert batching._free_bytes(CPU) == 3_001_000


def test_a_container_without_a_limit_leaves_what_the_machine_has(control_group):
    control_group("max", 1_999_000)
    found, machine = batching._free_bytes(CPU), psutil.virtual_memory()
    # Other programs take and give back memory meanwhile.
    assert abs(found - machine.available) < 0.3 * machine.total


def test_on_cuda_the_free_memory_of_that_device_counts(monkeypatch):
    device = torch.device("cuda", 1)
    free_and_total = {device: (7_000, 9_000)}
    monkeypatch.setattr(torch.cuda, "mem_get_info", free_and_total.__getitem__)
    assert batching._free_bytes(device) == 7_000


@pytest.mark.parametrize(
    ("n_tokens", "batch_size", "stops"),
    [
        (100, 3, [3, 6, 8]),
        (8, None, [2, 4, 6, 8]),
        (11, 3, [2, 4, 6, 8]),
        (1, None, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_a_batch_is_as_full_as_it_may_be(n_tokens, batch_size, stops):
    """Eight cells of four tokens."""
    batches = run_batches(lambda *_: None, np.arange(0, 33, 4), TokenBudget(n_tokens, batch_size))
    assert [stop for _, stop, _ in batches] == stops
