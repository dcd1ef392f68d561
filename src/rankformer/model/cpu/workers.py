"""How the batches of one call share the cores of a CPU."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from rankformer.model.batching import Submit, compute_now


def share_cores(n_cells: int | None) -> tuple[int, int]:
    """Batches at a time, and threads of each, of the threads that torch may use.

    A batch a core is faster than all cores on one batch: no thread waits for another within a
    layer, which costs most where other processes have some of the cores. Fewer cells than cores
    get several threads each; where their number is not known, there are many.
    """
    n_threads = torch.get_num_threads()
    n_workers = n_threads if n_cells is None else max(min(n_threads, n_cells), 1)
    return n_workers, n_threads // n_workers


@contextmanager
def start_workers(n_workers: int, n_threads: int) -> Iterator[Submit[Any]]:
    """Threads that each run batches with `n_threads` of torch; yields how a batch is handed over.

    One worker is the thread that asks.

    torch's number of threads is one for the whole process where MKL multiplies, so it is put back
    at the end.
    """
    if n_workers == 1:
        yield compute_now
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        n_workers, "rankformer", initializer=torch.set_num_threads, initargs=(n_threads,)
    )
    try:
        yield pool.submit
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
