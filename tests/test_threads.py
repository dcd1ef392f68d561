"""Threads begin only where there is memory for them, and the work is done in any case."""

import subprocess
import sys
import threading

import pytest

from rankformer.threads import run_in_threads

STARVED = """
import threading
from tests.damage import little_memory
from rankformer.threads import run_in_threads

def work(place):
    done[place] += 1
    workers.add(threading.get_ident())

for n_threads in (2, 8):
    done, workers = [0] * 50, set()
    with little_memory(0.02):
        run_in_threads(work, zip(range(50)), n_threads)
    assert done == [1] * 50, done
    assert workers == {threading.get_ident()}, workers
"""


def test_several_threads_work_at_once():
    met = threading.Barrier(2, timeout=60)
    run_in_threads(lambda _: met.wait(), [(0,), (1,)], 2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux has them")
def test_without_memory_for_threads_the_caller_works():
    """Python waits without an end for a thread that runs out of memory as it begins."""
    done = subprocess.run(
        [sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_first_error_comes_out(n_threads):
    def work(place):
        if place >= 5:
            raise ValueError(f"place {place}")

    with pytest.raises(ValueError, match="place 5"):
        run_in_threads(work, zip(range(20)), n_threads)
