"""Plans of batches, and what happens when memory runs out."""

import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankformer.errors import OutOfMemoryError
from rankformer.model.batching import PartCells, TokenBudget, run_batches, run_parts
from rankformer.model.cpu.workers import share_cores, start_workers
from rankformer.model.spec import EncoderSpec
from rankformer.read_ahead import read_ahead

lengths_lists = st.lists(st.integers(0, 50), max_size=40)


def offsets_of(lengths):
    return np.cumsum([0, *lengths])


@given(lengths_lists, st.integers(1, 200), st.none() | st.integers(1, 5))
def test_batches_cover_all_cells_in_order_within_the_budget(lengths, n_tokens, batch_size):
    offsets = offsets_of(lengths)
    batches = list(run_batches(lambda a, b: b - a, offsets, TokenBudget(n_tokens, batch_size)))
    assert [i for start, stop, _ in batches for i in range(start, stop)] == list(
        range(len(lengths))
    )
    for start, stop, n_cells in batches:
        assert n_cells == stop - start
        assert batch_size is None or n_cells <= batch_size
        assert n_cells == 1 or offsets[stop] - offsets[start] <= n_tokens


@given(lengths_lists, st.integers(50, 100))
def test_every_cell_is_computed_once_when_memory_is_short(lengths, room):
    offsets = offsets_of(lengths)

    def compute(start, stop):
        if offsets[stop] - offsets[start] > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(range(start, stop))

    batches = run_batches(compute, offsets, TokenBudget(10_000))
    assert [cell for _, _, cells in batches for cell in cells] == list(range(len(lengths)))


parts_lists = st.lists(lengths_lists, max_size=6)


def cells_of(lengths):
    return PartCells(offsets_of(lengths), lambda start, stop: lengths[start:stop])


@given(parts_lists, st.integers(1, 200), st.none() | st.integers(1, 5), st.integers(1, 5))
def test_parts_are_cut_as_each_alone_would_be(parts, n_tokens, batch_size, n_ahead):
    budget = TokenBudget(n_tokens, batch_size)
    found = list(run_parts(iter(parts), cells_of, budget, n_ahead=n_ahead))
    expected = []
    for part in parts:
        own = cells_of(part)
        alone = list(run_batches(own.compute, own.offsets, TokenBudget(n_tokens, batch_size)))
        expected += [(part, *each) for each in alone] or [(part, 0, 0, None)]
    assert found == expected


class Memory:
    """Room for so many tokens, which batches side by side share."""

    def __init__(self, room):
        self.room, self.in_use, self.lock = room, 0, threading.Lock()

    def hold(self, n_tokens):
        """For a moment; raises where others hold too much."""
        with self.lock:
            if self.in_use + n_tokens > self.room:
                raise MemoryError
            self.in_use += n_tokens
        time.sleep(0.0005)
        with self.lock:
            self.in_use -= n_tokens


@given(parts_lists, st.integers(50, 100), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_each_cell_of_all_parts_is_computed_once_when_memory_is_short(parts, room, n):
    """Batches side by side share the room, also those of different parts."""
    memory = Memory(room)

    def short_of_memory(part):
        number, lengths = part

        def compute(start, stop):
            memory.hold(sum(lengths[start:stop]))
            return [(number, cell) for cell in range(start, stop)]

        return PartCells(offsets_of(lengths), compute)

    with start_workers(n, 1) as submit:
        given_parts = iter(list(enumerate(parts)))
        found = run_parts(given_parts, short_of_memory, TokenBudget(200), submit, 2 * n)
        cells = [cell for *_, cells in found for cell in cells or []]
    assert cells == [(i, cell) for i, part in enumerate(parts) for cell in range(len(part))]


def test_the_next_part_is_handed_over_before_the_last_results_of_one_are_used():
    handed_over = []

    def told(part):
        def compute(start, stop):
            handed_over.append((part, start))

        return PartCells(offsets_of([10] * 4), compute)

    results = run_parts(iter("ab"), told, TokenBudget(20), n_ahead=3)
    assert next(results)[:3] == ("a", 0, 2)
    assert handed_over == [("a", 0), ("a", 2), ("b", 0)]


def test_results_are_given_while_the_next_part_is_not_there_yet():
    has_first = threading.Event()

    def slow():
        yield "a"
        assert has_first.wait(30), "the results of the part before were held back"
        yield "b"

    with read_ahead(slow()) as parts:
        for part, _, stop, _ in run_parts(parts, lambda _: cells_of([10] * 4), TokenBudget(20),
                                          n_ahead=10):  # fmt: skip
            if (part, stop) == ("a", 4):
                has_first.set()
    assert has_first.is_set()


def test_an_error_in_the_place_of_a_part_comes_after_the_results_before_it():
    def damaged():
        yield [10] * 4
        raise ValueError("the source is damaged")

    results = run_parts(damaged(), cells_of, TokenBudget(20), n_ahead=10)
    assert [next(results)[1:3] for _ in range(2)] == [(0, 2), (2, 4)]
    with pytest.raises(ValueError, match="damaged"):
        next(results)


@pytest.mark.parametrize("n_at_once", [1, 4])
def test_batches_that_run_at_once_fit_half_of_the_memory_that_is_free(n_at_once):
    """A model so wide that memory decides: each token holds query, key, value and three states."""
    wide = 2**20
    spec = EncoderSpec(10, n_layers=1, d_model=wide, n_heads=1, d_ff=wide, max_positions=8)
    budget = TokenBudget.for_memory(spec, torch.device("cpu"), torch.float32, n_at_once=n_at_once)
    needed = n_at_once * budget.n_tokens * 6 * wide * 4
    # Other programs take and give back memory meanwhile.
    assert needed < 0.7 * psutil.virtual_memory().available


def test_the_smaller_budget_is_kept():
    budget = TokenBudget(1000)
    seen = []

    def compute(start, stop):
        seen.append(stop - start)
        if stop - start > 3:
            raise MemoryError

    list(run_batches(compute, offsets_of([10] * 12), budget))
    assert seen == [12, 6, 3, 3, 3, 3]
    assert budget.n_tokens == 30


def test_one_cell_that_does_not_fit_is_an_error():
    def compute(start, stop):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(OutOfMemoryError, match="one cell of 7 tokens"):
        list(run_batches(compute, offsets_of([7, 9]), TokenBudget(100)))


@given(lengths_lists, st.integers(50, 100), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_batches_side_by_side_come_back_in_order_also_when_memory_is_short(lengths, room, n):
    """The room is shared: what fails beside others may fit alone."""
    offsets = offsets_of(lengths)
    memory = Memory(room)

    def compute(start, stop):
        memory.hold(offsets[stop] - offsets[start])
        return list(range(start, stop))

    with start_workers(n, 1) as submit:
        batches = list(run_batches(compute, offsets, TokenBudget(200), submit, 2 * n))
    assert [cell for *_, cells in batches for cell in cells] == list(range(len(lengths)))


def test_workers_leave_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    with start_workers(2, 1) as submit:
        inside = [submit(lambda *_: torch.get_num_threads(), 0, 1).result() for _ in range(4)]
    assert inside == [1] * 4
    assert torch.get_num_threads() == before
    assert ThreadPoolExecutor(1).submit(torch.get_num_threads).result() == before


def test_cells_share_the_cores():
    for n_cells in (0, 1, 2, 1000):
        n_workers, n_threads = share_cores(n_cells)
        assert 1 <= n_workers * n_threads <= torch.get_num_threads()
        assert n_workers <= max(n_cells, 1)


def test_other_errors_are_not_taken_for_lack_of_memory():
    def compute(start, stop):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(run_batches(compute, offsets_of([7, 9]), TokenBudget(100)))


def test_budget_shrinks_with_the_model():
    sizes = [
        TokenBudget.for_memory(
            EncoderSpec(100, 2, width, 2, 4 * width, 64), torch.device("cpu"), torch.float32
        ).n_tokens
        for width in (64, 2**22)
    ]
    assert sizes[0] > sizes[1] >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, as Linux does")
def test_a_starved_process_gets_the_same_embeddings(tmp_path):
    """The address space is limited so that the first batch cannot be allocated."""
    script = textwrap.dedent("""
        import logging, resource, sys
        import numpy as np, torch
        from rankformer.model.batching import PartCells, TokenBudget, run_batches, run_parts
        from rankformer.model.encoder import Encoder, PackedBatch
        from rankformer.model.spec import EncoderSpec

        torch.set_num_threads(1)
        torch.manual_seed(0)
        encoder = Encoder(EncoderSpec(100, 1, 256, 4, 4096, 512)).eval()
        rng = np.random.default_rng(0)
        offsets = np.arange(0, 40_001, 400)
        ragged = rng.integers(4, 100, offsets[-1]).astype(np.int32), offsets
        budget = TokenBudget(50_000)

        @torch.inference_mode()
        def compute(start, stop):
            return encoder(PackedBatch.pack(ragged, start, stop))[:, 0].numpy().copy()

        small = TokenBudget(2000)
        plenty = np.concatenate([run for *_, run in run_batches(compute, offsets, small)])
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
        starved = np.concatenate([run for *_, run in run_batches(compute, offsets, budget)])
        assert budget.n_tokens < 40_000, budget.n_tokens
        np.testing.assert_allclose(starved, plenty, atol=1e-6)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
