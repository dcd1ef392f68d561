"""Lines in a log that tell how far long work has come."""

import logging
import re
from itertools import pairwise

import pytest

from rankformer import progress as module
from rankformer.progress import show_progress, watched


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: False, raising=False)
    return now


def told(caplog):
    return [each.getMessage() for each in caplog.records]


def test_the_first_line_comes_soon_and_counts_what_was_done_before(clock, caplog):
    caplog.set_level(logging.INFO, "rankformer")
    with show_progress(5_000, "Training", unit="steps", n_before=1_000) as advance:
        clock[0] += 9
        advance(90)
        assert told(caplog) == []
        clock[0] += 1
        advance(10)
    # 100 steps in 10 s; 3,900 are left.
    assert told(caplog) == ["Training: 1,100 of 5,000 steps, 10.0 steps/s, 390 s left"]


def test_lines_become_seldom_and_the_last_item_has_none(clock, caplog):
    caplog.set_level(logging.INFO, "rankformer")
    hours = 5
    with show_progress(hours * 3600, "Embedding cells") as advance:
        for _ in range(hours * 3600):
            clock[0] += 1
            advance(1)
    done = [int(re.search(r": ([\d,]+) of", line)[1].replace(",", "")) for line in told(caplog)]
    assert done[:3] == [10, 20, 30]
    assert len(done) < 80
    assert done[-1] < hours * 3600
    assert max(b / a for a, b in pairwise(done[10:])) < 1.2


def test_nothing_done_yet_has_no_rate(clock, caplog):
    """As where all cells of a part were filtered out."""
    caplog.set_level(logging.INFO, "rankformer")
    with show_progress(10, "Tokenizing cells") as advance:
        clock[0] += 100
        advance(0)
        assert told(caplog) == []
        advance(5)
    assert told(caplog) == ["Tokenizing cells: 5 of 10 cells, 0.1 cells/s, 100 s left"]


def test_a_watcher_hears_of_the_work_within_and_can_end_it(clock, caplog):
    caplog.set_level(logging.INFO, "rankformer")
    heard = []
    with (
        watched(lambda *told: heard.append(told)),
        show_progress(30, "Embedding cells", n_before=10) as advance,
    ):
        clock[0] += 60
        advance(5)
        advance(15)
    assert heard == [
        ("Embedding cells", 10, 30), ("Embedding cells", 15, 30), ("Embedding cells", 30, 30),
    ]  # fmt: skip
    assert told(caplog) == []

    def stop(*_):
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        watched(stop),
        show_progress(1, "Embedding cells"),
    ):
        pass
    with show_progress(9, "Embedding cells") as advance:
        clock[0] += 60
        advance(5)
    assert told(caplog) == ["Embedding cells: 5 of 9 cells, 0.1 cells/s, 48 s left"]
