"""Reading ahead and using behind: order, errors, room, and nothing that runs on behind them."""

import threading
from contextlib import closing
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.cells import fill_vectors, iterate_gene_vectors
from rankformer.embed.embedder import Embedder
from rankformer.errors import CountsError
from rankformer.read_ahead import read_ahead, use_behind
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import open_tokens
from tests.conftest import small_counts


def threads() -> list[str]:
    names = (each.name for each in threading.enumerate())
    return [name for name in names if name.startswith("rankformer")]


class Numbers:
    """A generator of numbers that tells what was made, by which thread, and whether it ended."""

    def __init__(self, stop=10, fail_at=None):
        self.made, self.thread, self.ended = [], None, False
        self.stop, self.fail_at = stop, fail_at

    def __call__(self):
        try:
            for number in range(self.stop):
                if number == self.fail_at:
                    raise ValueError("the source is damaged")
                self.thread = threading.current_thread()
                self.made.append(number)
                yield number
        finally:
            self.ended = True


@pytest.mark.parametrize("n", [0, 1, 7])
def test_all_items_in_order_made_by_another_thread(n):
    numbers = Numbers(n)
    with read_ahead(numbers()) as items:
        assert list(items) == list(range(n))
    assert numbers.ended
    assert numbers.thread is not threading.current_thread()
    assert threads() == []


def test_the_next_item_is_made_while_one_is_used_and_no_more():
    made = threading.Semaphore(0)

    def signal():
        for number in range(9):
            made.release()
            yield number

    with read_ahead(signal()) as items:
        for used in range(1, 4):
            next(items)
            assert made.acquire(timeout=30)
            assert made.acquire(timeout=30), "the next was not begun"
            assert not made.acquire(timeout=0.05), f"two were made ahead of item {used}"
            made.release()


def test_several_items_are_made_ahead_where_it_is_asked_for():
    made = threading.Semaphore(0)

    def signal():
        for number in range(9):
            made.release()
            yield number

    with read_ahead(signal(), 3) as items:
        next(items)
        assert all(made.acquire(timeout=30) for _ in range(4)), "three besides the one in use"
        assert not made.acquire(timeout=0.05)
        assert list(items) == list(range(1, 9))


def test_whether_the_next_item_is_there_is_known_without_waiting():
    go_on = threading.Event()

    def numbers():
        yield 0
        go_on.wait(30)
        yield 1

    with read_ahead(numbers()) as items:
        assert next(items) == 0
        assert not items.is_ready
        go_on.set()
        assert next(items) == 1
        assert list(items) == []
        assert items.is_ready, "the end is known too"


def test_an_error_comes_after_the_items_before_it():
    seen = []
    with (
        pytest.raises(ValueError, match="damaged") as caught,
        read_ahead(Numbers(fail_at=3)()) as items,
    ):
        seen.extend(items)
    assert "__call__" in [entry.name for entry in caught.traceback]
    assert threads() == []
    with read_ahead(Numbers(fail_at=3)()) as items:
        seen = [next(items) for _ in range(3)]
    assert seen == [0, 1, 2], "what was not asked for does not fail"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError, None])
def test_a_user_that_stops_early_leaves_nothing_behind(stop):
    numbers = Numbers()

    def use():
        with read_ahead(numbers()) as items:
            next(items)
            if stop:
                raise stop

    if stop:
        with pytest.raises(stop):
            use()
    else:
        use()
    assert numbers.ended
    assert numbers.made in ([0], [0, 1])
    assert threads() == []


class Used:
    """Takes numbers, from the first when it is let, and fails at one of them."""

    def __init__(self, fail_at=None):
        self.numbers, self.fail_at, self.ended_by = [], fail_at, "not at all"
        self.let = threading.Event()

    def __call__(self, numbers):
        try:
            for number in numbers:
                assert self.let.wait(30)
                if number == self.fail_at:
                    raise OSError("the disk is full")
                self.numbers.append(number)
        except BaseException as error:
            self.ended_by = type(error).__name__
            raise
        self.ended_by = None


@pytest.mark.parametrize("n", [0, 1, 50])
def test_all_that_is_given_is_used_in_order_before_the_block_is_left(n):
    used = Used()
    used.let.set()
    with use_behind(used, 100) as put:
        for number in range(n):
            put(number, 40)
    assert used.numbers == list(range(n))
    assert used.ended_by is None
    assert threads() == []


def test_what_makes_items_waits_where_there_is_no_room():
    used, given = Used(), threading.Semaphore(0)

    def give():
        with use_behind(used, 100) as put:
            for number in range(9):
                put(number, 40)
                given.release()

    maker = threading.Thread(target=give)
    maker.start()
    # One is in use, and two wait.
    assert all(given.acquire(timeout=30) for _ in range(3))
    assert not given.acquire(timeout=0.05), "a fourth was taken"
    used.let.set()
    maker.join(30)
    assert used.numbers == list(range(9))


def test_one_item_larger_than_all_room_is_used_too():
    used = Used()
    used.let.set()
    with use_behind(used, 100) as put:
        for number in range(3):
            put(number, 1000)
    assert used.numbers == [0, 1, 2]


def test_an_error_of_who_uses_reaches_who_makes():
    used, n_given = Used(fail_at=2), 0
    used.let.set()

    def give():
        nonlocal n_given
        with use_behind(used, 100) as put:
            for number in range(1000):
                put(number, 40)
                n_given += 1

    with pytest.raises(OSError, match="disk is full"):
        give()
    assert used.numbers == [0, 1]
    assert n_given < 10, "nothing was made any more"
    assert threads() == []


def test_an_error_at_the_last_item_comes_at_the_end():
    used = Used(fail_at=1)
    used.let.set()

    def give():
        with use_behind(used, 100) as put:
            put(0, 1)
            put(1, 1)

    with pytest.raises(OSError, match="disk is full"):
        give()


@pytest.mark.parametrize(("error", "left"), [(ValueError, [0, 1]), (KeyboardInterrupt, [0])])
def test_where_the_block_fails_what_it_gave_is_used_and_where_it_is_stopped_dropped(error, left):
    used, is_in_use = Used(), threading.Event()

    def use(numbers):
        used(signalling(numbers, is_in_use))

    def give():
        with use_behind(use, 100) as put:
            put(0, 1)
            put(1, 1)
            assert is_in_use.wait(30)
            threading.Timer(0.1, used.let.set).start()
            raise error

    with pytest.raises(error):
        give()
    assert used.numbers == left
    assert used.ended_by not in (None, "not at all"), "it knows that not all came"
    assert threads() == []


def signalling(numbers, began):
    for number in numbers:
        began.set()
        yield number


@pytest.fixture
def embedder(checkpoint_folder):
    return Embedder(Checkpoint.open(checkpoint_folder), device="cpu", dtype="float32", batch_size=4)


@pytest.fixture
def cells_file(tmp_path, small_adata):
    small_adata.write_h5ad(tmp_path / "cells.h5ad", compression="gzip")
    return tmp_path / "cells.h5ad"


OPEN_FILES = Path("/proc/self/fd")


def is_open(path) -> bool:
    return path in [each.resolve() for each in OPEN_FILES.iterdir()]


def use_cells(stream, embedder, progress):
    vectors = np.empty((len(stream), embedder.d_model), np.float32)
    fill_vectors(vectors, [stream], embedder, mode="cell", progress=progress)


def use_genes(stream, embedder, progress):
    for _ in iterate_gene_vectors(stream, embedder, progress):
        pass


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="open files as Linux shows them")
@pytest.mark.parametrize("use", [use_cells, use_genes])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError])
def test_embedding_that_is_stopped_closes_the_file(cells_file, embedder, use, stop):
    def progress(_):
        raise stop

    options = ReadingOptions(chunk_cells=5)
    stream = open_tokens(cells_file, embedder.checkpoint.vocabulary, options)
    assert is_open(cells_file)
    with closing(stream), pytest.raises(stop):
        use(stream, embedder, progress)
    assert threads() == []
    assert not is_open(cells_file)


def test_a_bad_cell_is_told_after_the_cells_before_it(tmp_path, embedder):
    """Row 42 is not among those that a look at the matrix sees."""
    counts = small_counts(400, 100)
    counts.data[counts.indptr[42]] = 0.5
    names = pd.DataFrame(index=embedder.checkpoint.vocabulary.ensembl_ids[:100])
    ad.AnnData(counts, var=names).write_h5ad(tmp_path / "cells.h5ad")
    options = ReadingOptions(chunk_cells=5)
    done = []
    stream = open_tokens(tmp_path / "cells.h5ad", embedder.checkpoint.vocabulary, options)
    with closing(stream), pytest.raises(CountsError, match="row 42"):
        use_cells(stream, embedder, done.append)
    assert sum(done) == 40
