"""What is kept of an earlier run where a new one fails or is stopped at its beginning."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
from tests.faults.bad_input import snapshot
from tests.runs.commands import embed, give, shards

from rankformer.runs import locks
from rankformer.runs.run_folders import described_aside

ANNOTATE = (
    "annotate cells/a.h5ad --label cell_type --n-neighbors 5 -m model --dtype float32 -o run "
    "--shard-cells 20"
)


@pytest.mark.parametrize(
    "mistake",
    [
        ("cells -o", "cells/a.h5ad cells/x.h5ad -o"),
        ("--shard-cells", "--layer nothing --shard-cells"),
        ("-m model", "-m no-model"),
        ("--shard-cells", "--emb-layer 99 --shard-cells"),
    ],
)
def test_restart_with_a_mistake_costs_nothing(folder, mistake):
    give(folder, embed("run"))
    before = snapshot(folder)
    give(folder, embed("run", "--restart").replace(*mistake), 2)
    assert snapshot(folder) == before
    assert "9 of 9 shards were done before" in give(folder, embed("run"))


def test_restart_makes_the_reference_anew(folder):
    """That of before would decide other labels."""
    give(folder, f"{ANNOTATE} -r cells/c.h5ad")
    old = snapshot(folder / "run" / "reference")
    give(folder, f"{ANNOTATE} -r cells/b.h5ad --restart --label no_such", 2)
    assert snapshot(folder / "run" / "reference") == old
    assert not (folder / "run" / "before.part").exists()
    give(folder, f"{ANNOTATE} -r cells/b.h5ad --restart")
    assert snapshot(folder / "run" / "reference") != old
    assert not (folder / "run" / "before.part").exists()
    give(folder, "merge run -o labels.csv")
    give(folder, f"{ANNOTATE} -r cells/b.h5ad".replace("-o run", "-o right.csv"))
    found, right = (pd.read_csv(folder / each) for each in ("labels.csv", "right.csv"))
    pd.testing.assert_frame_equal(found, right, atol=1e-5)


@pytest.mark.parametrize("then", ["goes on", "is merged"])
def test_a_restart_that_was_killed_as_it_looked_at_the_inputs(folder, then):
    """A new reference may be there, and the old one is that of the shards."""
    give(folder, f"{ANNOTATE} -r cells/c.h5ad")
    run = folder / "run"
    old = snapshot(run / "reference")
    with described_aside(run):
        (run / "reference").mkdir()
        (run / "reference" / "new").write_text("new")
        shutil.copytree(run, folder / "killed")
    shutil.rmtree(run)
    (folder / "killed").rename(run)
    if then == "goes on":
        said = give(folder, f"{ANNOTATE} -r cells/c.h5ad")
        assert "4 of 4 shards were done before" in said
    else:
        give(folder, "merge run -o labels.csv")
    assert snapshot(run / "reference") == old
    assert not (run / "before.part").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals as Linux has them")
@pytest.mark.parametrize("more", ["", "--restart"])
def test_stopped_while_inputs_are_looked_at_it_says_how_to_go_on(folder, more):
    """Another process holds the lock of that, so that it does so for as long as is needed."""
    give(folder, embed("run"))
    shards(folder, "run")[0].unlink()
    with locks.FileLock(folder / "run" / "plan.lock", is_singleton=False):
        process = subprocess.Popen(
            [sys.executable, "-m", "rankformer", *embed("run", more).split()],
            cwd=folder, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        owner = folder / "run" / "whole.owner.json"
        while not owner.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1]
    assert "8 of 9 shards are done, and kept in run" in said
    without = " without --restart" if more else ""
    assert f"The same command{without} goes on from there." in said


def test_a_refusal_says_nothing_of_going_on(folder):
    give(folder, embed("run"))
    said = give(folder, embed("run", "--mode cls"), 2)
    assert "goes on from there" not in said


def test_it_is_said_for_whom_one_waits(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "_SECONDS_UNTIL_TOLD", 0.2)
    held, free = threading.Event(), threading.Event()

    def hold():
        with locks.taking_turns(tmp_path, "plan", "looks at the inputs"):
            held.set()
            free.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(30)
    owner = json.loads((tmp_path / "plan.owner.json").read_text())
    caplog.set_level("INFO", "rankformer")
    threading.Timer(1, free.set).start()
    with locks.taking_turns(tmp_path, "plan", "looks at the inputs"):
        pass
    other.join()
    (message,) = [each.getMessage() for each in caplog.records]
    assert f"process {owner['pid']} on {owner['host']}" in message
    assert f"looks at the inputs of the run in {tmp_path}. This one waits" in message
    caplog.clear()
    with locks.taking_turns(tmp_path, "plan", "looks at the inputs"):
        pass
    assert not caplog.records


def test_each_input_is_told_of_once(folder):
    for output in ("run", "out.parquet"):
        said = give(folder, embed(output))
        for name in "abc":
            assert said.count(f"cells/{name}.h5ad: ") == 1, said
    # Inputs that are known are not looked at again, and told of when they are read.
    shards(folder, "run")[0].unlink()
    said = give(folder, embed("run"))
    assert [said.count(f"cells/{name}.h5ad: ") for name in "abc"] == [1, 0, 0]


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
@pytest.mark.parametrize("hard", [None, 128])
def test_more_inputs_than_files_may_be_open(folder, hard):
    """For one output file all are kept open at once."""
    (folder / "many").mkdir()
    content = (folder / "cells" / "c.h5ad").read_bytes()
    for number in range(80):
        (folder / "many" / f"{number:02d}.h5ad").write_bytes(content)
    script = (
        "import resource, sys\n"
        "from rankformer.cli import main\n"
        f"hard = {hard} or resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
        "main()"
    )
    command = "tokenize many -m model -o tokens --shard-cells 30"
    done = subprocess.run(
        [sys.executable, "-c", script, *command.split()], cwd=folder, capture_output=True, text=True
    )
    if hard is None:
        assert done.returncode == 0, done.stderr
        assert "2,400 cells" in done.stderr
    else:
        assert done.returncode == 2, done.stderr
        assert "80 inputs are to be open" in done.stderr
        assert "rankformer merge" in done.stderr
        assert not list(folder.glob("tokens*"))


def test_names_do_not_break_lines_of_the_log(folder):
    """A line of a log, or of a table of failures, must not be one that a name made up."""
    odd = "b\nWARNING: all is lost\x1b[2J.h5ad"
    (folder / "cells" / "b.h5ad").rename(folder / "cells" / odd)
    good = give(folder, embed("run"))
    (folder / "cells" / odd).write_bytes(b"\x89HDF\r\n\x1a\n")
    bad = give(folder, embed("other"), 3)
    for said in (good, bad):
        assert "b\\nWARNING: all is lost\\x1b[2J.h5ad" in said
        assert not [line for line in said.splitlines() if line.startswith("WARNING")]
        assert "\x1b[2J" not in said
