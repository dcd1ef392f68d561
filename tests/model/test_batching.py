"""Plans of batches, and what happens when memory runs out."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankformer.errors import OutOfMemoryError
from rankformer.model.batching import TokenBudget, run_batches
from rankformer.model.spec import EncoderSpec

lengths_lists = st.lists(st.integers(0, 50), max_size=40)


def offsets_of(lengths):
    return np.cumsum([0, *lengths])


@given(lengths_lists, st.integers(1, 200), st.none() | st.integers(1, 5))
def test_batches_cover_all_cells_in_order_within_the_budget(lengths, n_tokens, max_cells):
    offsets = offsets_of(lengths)
    batches = list(run_batches(lambda a, b: b - a, offsets, TokenBudget(n_tokens, max_cells)))
    assert [i for start, stop, _ in batches for i in range(start, stop)] == list(
        range(len(lengths))
    )
    for start, stop, n_cells in batches:
        assert n_cells == stop - start
        assert max_cells is None or n_cells <= max_cells
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
        from rankformer.model.batching import TokenBudget, run_batches
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
