"""One run at a time on an output; what a dead process held is free."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from rankformer.errors import OutputError
from rankformer.runs import locks, run_folders
from rankformer.runs import run as runs
from rankformer.runs.locks import locked
from rankformer.runs.manifest import Work
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import Share

HOLD = """
import sys, time
from pathlib import Path
from rankformer.runs.locks import locked
from rankformer.runs.shards import Share
share = Share(*map(int, sys.argv[2].split("/"))) if sys.argv[2] else None
with locked(Path(sys.argv[1]), share):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def hold(tmp_path):
    """Start a process that holds a lock."""
    processes = []

    def start(share=""):
        command = [sys.executable, "-c", HOLD, str(tmp_path), share]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for each in processes:
        each.kill()
        each.wait()


@pytest.mark.parametrize(
    ("theirs", "ours"), [("", None), ("", Share(1, 4)), ("2/4", None), ("2/4", Share(2, 4))]
)
def test_the_second_is_refused_while_the_first_lives(tmp_path, hold, theirs, ours):
    process = hold(theirs)
    with (
        pytest.raises(OutputError, match=f"process {process.pid} on ") as refused,
        locked(tmp_path, ours),
    ):
        pass
    assert str(tmp_path) in str(refused.value)


def test_shares_of_another_division_wait_until_these_have_ended(tmp_path, hold):
    """They would do the same shards, and remove what the others write."""
    process = hold("1/4")
    with pytest.raises(OutputError, match="share 1 of 4"), locked(tmp_path, Share(2, 3)):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path, Share(2, 3)):
        pass


def test_other_shares_go_on_beside_one(tmp_path, hold):
    hold("1/4")
    with locked(tmp_path, Share(2, 4)), locked(tmp_path, Share(3, 4)):
        pass


@pytest.mark.parametrize("share", ["", "2/4"])
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_owner_is_taken_over(tmp_path, hold, share, kill):
    process = hold(share)
    process.send_signal(kill)
    process.wait()
    for ours in (None, Share(2, 4)):
        with locked(tmp_path, ours):
            pass


def test_the_owner_is_named(tmp_path):
    with locked(tmp_path, None):
        owner = json.loads((tmp_path / "whole.owner.json").read_text())
        assert owner["pid"] == os.getpid()
    assert not (tmp_path / "whole.owner.json").exists()


def test_a_damaged_note_on_the_owner_changes_nothing(tmp_path, hold):
    hold()
    (tmp_path / "whole.owner.json").write_text("{")
    with pytest.raises(OutputError, match="Another run is at work"), locked(tmp_path, None):
        pass


def test_one_that_is_refused_does_not_remove_what_the_other_has_begun(tmp_path, hold, monkeypatch):
    """Both saw that there was no folder; the other came first, and has no shard yet."""
    make = runs.make_folder

    def make_later(folder):
        make(folder)
        hold()

    monkeypatch.setattr(runs, "make_folder", make_later)
    exists, looked = runs.Path.exists, []

    def exists_from_the_second_look(self):
        if self != tmp_path:
            return exists(self)
        looked.append(self)
        return len(looked) > 1

    monkeypatch.setattr(runs.Path, "exists", exists_from_the_second_look)
    with (
        pytest.raises(OutputError, match="at work"),
        runs.open_run(tmp_path, RunSettings(), lambda _: None),
    ):
        pass
    monkeypatch.undo()
    assert (tmp_path / "whole.lock").exists()


@pytest.mark.parametrize("at", ["make_folder", "locked", "taking_turns", "_remove_half_written"])
def test_a_signal_before_the_work_began_leaves_nothing(tmp_path, monkeypatch, at):
    """At whichever moment of the beginning it comes: the folder is made, locked, or planned."""
    folder = tmp_path / "out.h5ad.parts"
    whole = getattr(runs, at)

    def stop(*arguments):
        whole(*arguments)
        raise KeyboardInterrupt

    @contextmanager
    def stop_within(*arguments):
        monkeypatch.undo()
        with whole(*arguments):
            raise KeyboardInterrupt
            yield

    is_block = at in ("locked", "taking_turns")
    monkeypatch.setattr(runs, at, stop_within if is_block else stop)
    with (
        pytest.raises(KeyboardInterrupt),
        runs.open_run(folder, RunSettings(), lambda _: (Work("embed", {}, {}, 10), (), {})),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_refused_one_keeps_the_note_on_the_owner(tmp_path):
    """Also where it is of the same process, by another thread, or has its number elsewhere."""
    with locked(tmp_path, None):
        note = (tmp_path / "whole.owner.json").read_text()
        with pytest.raises(OutputError, match="at work"), locked(tmp_path, None):
            pass
        assert (tmp_path / "whole.owner.json").read_text() == note
        elsewhere = json.dumps({**json.loads(note), "host": "another"})
        (tmp_path / "whole.owner.json").write_text(elsewhere)
    assert (tmp_path / "whole.owner.json").read_text() == elsewhere


def test_a_lock_holds_though_its_owner_cannot_be_noted(tmp_path, monkeypatch):
    """As on a full disk."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(locks.Path, "write_text", full)
        with locked(tmp_path, None), pytest.raises(OutputError), locked(tmp_path, None):
            pass
    assert not (tmp_path / "whole.owner.json").exists()


def test_work_that_is_there_is_never_removed(tmp_path, monkeypatch):
    """A shard was written between the look without the lock and that with it."""
    folder = tmp_path / "out.h5ad.parts"
    holds, looked = run_folders.holds_work, []

    def holds_later(where):
        looked.append(where)
        if len(looked) == 2:
            (folder / "shards" / "0.parquet").write_bytes(b"")
        return holds(where)

    monkeypatch.setattr(run_folders, "holds_work", holds_later)
    with runs.open_run(folder, RunSettings(), lambda _: (Work("embed", {}, {}, 10), (), {})):
        pass
    assert len(looked) == 2
    assert (folder / "shards" / "0.parquet").exists()
