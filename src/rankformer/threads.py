"""Work of several threads, which begin only where there is memory for them."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np

# Of addresses: the stack of a thread, and what glibc sets aside for its first objects.
_BYTES_OF_A_THREAD = 96 << 20


def run_in_threads(
    work: Callable[..., Any], calls: Iterable[tuple[Any, ...]], n_threads: int
) -> None:
    """Call `work` with each of some arguments, by several threads at once.

    The caller does all of it where one thread is asked for, or memory does not suffice for more:
    for a thread that runs out of memory as it begins, Python waits without an end. None works
    before all have begun.

    Parameters
    ----------
    work
        Called by several threads at once.
    calls
        The arguments of each call.
    n_threads
        Threads to use at most.

    Raises
    ------
    Exception
        The first that `work` raised, in the order of the calls.
    """
    if n_threads == 1 or not is_room_for(n_threads * _BYTES_OF_A_THREAD):
        for each in calls:
            work(*each)
        return
    have_begun = Event()
    with ThreadPoolExecutor(n_threads, initializer=have_begun.wait) as pool:
        try:
            submitted = [pool.submit(work, *each) for each in calls]
        finally:
            have_begun.set()
        for done in submitted:
            done.result()


def is_room_for(n_bytes: int) -> bool:
    """Whether so many bytes can still be had."""
    try:
        np.empty(n_bytes, np.uint8)
    except MemoryError:
        return False
    return True
