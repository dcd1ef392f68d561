"""Runs that are killed, interrupted, or meet a full disk: a whole output, or none."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import anndata as ad
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from datasets import load_from_disk
from tests.damage import largest_file, without_heap
from tests.faults.bad_input import Outcome, run_here, save_models, snapshot
from tests.faults.cells import adata_of, counts, write

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="signals and limits as Linux has them"
)

N_CELLS, N_SHARDS = 12_000, 12
SECONDS_AT_MOST = 120


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Models, and cells enough to be embedded for some seconds."""
    folder = save_models(tmp_path_factory.mktemp("desk"))
    adata_of(counts(N_CELLS, mean=0.05)).write_h5ad(folder / "cells.h5ad")
    return folder


@pytest.fixture
def folder(desk, tmp_path):
    (tmp_path / "model").symlink_to(desk / "model")
    shutil.copyfile(desk / "cells.h5ad", tmp_path / "cells.h5ad")
    return tmp_path


def arguments(output: str, *options: str) -> list[str]:
    if output.endswith("tokens"):
        return ["tokenize", "cells.h5ad", "-o", output, "-m", "model", *options]
    # How well vectors are compressed, and so where the disk is full, depends on the dtype.
    options = ("--dtype", "float32", *options)
    return ["embed", "cells.h5ad", "-o", output, "-m", "model", *options]


def start(folder: Path, words: list[str], **more) -> subprocess.Popen:
    command = [sys.executable, "-m", "rankformer", *words]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, **more)


def wait_for(process: subprocess.Popen, folder: Path, output: str, n_shards: int = 0) -> None:
    """Until something of the output is there, so that the work has begun, and so many shards."""
    give_up = time.monotonic() + SECONDS_AT_MOST
    parts = folder / f"{output}.parts"
    while not parts.exists() or sum(1 for _ in parts.rglob("*.parquet")) < n_shards:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < give_up
        time.sleep(0.002)


def beside(folder: Path, before: dict[str, str], output: str) -> set[str]:
    """What is there and was not before; nothing that was is lost, or under the output's name."""
    now = snapshot(folder)
    assert {name: hash_ for name, hash_ in now.items() if name in before} == before
    new = now.keys() - before.keys()
    assert not any(name.split("/")[0] == output for name in new)
    return new


def expect_finished_shards(folder: Path, new: set[str], output: str) -> None:
    """Beside the output are shards that are whole, and what says of which run; or nothing."""
    assert all(name.startswith(f"{output}.parts/") for name in new)
    assert not [name for name in new if name.endswith(".part")]
    shards = [folder / name for name in new if name.endswith(".parquet")]
    assert all(pq.read_metadata(shard).num_rows for shard in shards)
    assert bool(shards) == bool(new)


def test_killed_at_a_random_moment(folder):
    """The same command run again goes on and succeeds; nothing of the first stays."""
    before = snapshot(folder)
    words = arguments("out.h5ad", "--shard-cells", str(N_CELLS // N_SHARDS))
    process = start(folder, words)
    wait_for(process, folder, "out.h5ad", random.randrange(N_SHARDS - 3))  # noqa: S311
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended too early to be killed"
    # Where the result was being written, what was written of it lies beside it too.
    left = [name for name in beside(folder, before, "out.h5ad") if ".parts/" not in name]
    assert all(name.split("/")[0].endswith(".part") for name in left)

    again = run_here(words, folder)
    assert again.status == 0, again.stderr
    assert np.isfinite(ad.read_h5ad(folder / "out.h5ad").obsm["X_geneformer"]).all()
    assert not (folder / "out.h5ad.parts").exists()


def test_tokenizing_killed(folder):
    """It may be too fast to be killed: then it is whole."""
    process = start(folder, arguments("tokens"))
    wait_for(process, folder, "tokens")
    process.kill()
    process.communicate()
    assert (folder / "tokens").exists() == (process.returncode == 0)
    if not (folder / "tokens").exists():
        assert run_here(arguments("tokens"), folder).status == 0
    assert load_from_disk(str(folder / "tokens")).num_rows == N_CELLS
    assert not (folder / "tokens.parts").exists()


def test_killed_before_the_work_began(folder):
    before = snapshot(folder)
    process = start(folder, arguments("out.h5ad"))
    time.sleep(random.uniform(0.1, 1))  # noqa: S311
    process.kill()
    process.communicate()
    assert snapshot(folder) == before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=lambda stop: stop.name)
def test_interrupted(folder, stop):
    """As by Ctrl-C, and as a cluster ends a job: whole shards are kept, and it is said so."""
    before = snapshot(folder)
    process = start(folder, arguments("out.h5ad", "--shard-cells", str(N_CELLS // N_SHARDS)))
    wait_for(process, folder, "out.h5ad", random.randrange(N_SHARDS - 3))  # noqa: S311
    process.send_signal(stop)
    _, said = process.communicate(timeout=SECONDS_AT_MOST)
    assert process.returncode == 128 + stop
    assert "nothing half-written" in said
    assert "Traceback" not in said
    new = beside(folder, before, "out.h5ad")
    expect_finished_shards(folder, new, "out.h5ad")
    assert ("The same command goes on from there" in said) == bool(new)


def run_with_largest_file(n_bytes: int, folder: Path, words: list[str]) -> Outcome:
    """In a process of its own: HDF5 that meets a full disk may end the process it is in."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    process = start(folder, words, preexec_fn=limit)
    _, said = process.communicate(timeout=SECONDS_AT_MOST)
    return Outcome(process.returncode, said)


def expect_full_disk(outcome: Outcome) -> None:
    assert outcome.status == 2, outcome.stderr
    assert outcome.message.startswith("OutputError: ")
    assert "Free space" in outcome.message
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("output", ["copy.h5ad", "new.h5ad"])
def test_a_full_disk_met_by_hdf5(folder, output):
    """The shards and the copy itself fit, and the vectors in it do not."""
    words = arguments(output)
    n_bytes = (folder / "cells.h5ad").stat().st_size + 4 * 32 * N_CELLS // 2
    if output == "new.h5ad":
        assert run_here(arguments("tokens"), folder).status == 0
        words[1] = "tokens"
        n_bytes = 4 * 32 * N_CELLS + 1000
    before = snapshot(folder)
    expect_full_disk(run_with_largest_file(n_bytes, folder, words))
    expect_finished_shards(folder, beside(folder, before, output), output)
    assert run_here(words, folder).status == 0


# Vectors of 300 cells take 38 kB, those of their genes 2 MB, their tokens 80 kB.
@pytest.mark.parametrize(
    ("words", "n_bytes"),
    [
        (arguments("out.h5ad"), 20_000),
        (arguments("out.h5ad", "--overwrite"), 100_000),
        (arguments("out.parquet", "--overwrite"), 38_450),
        (arguments("out.npy", "--overwrite"), 38_450),
        (arguments("genes.parquet", "--mode", "gene", "--overwrite"), 100_000),
        (arguments("genes.parquet", "--mode", "gene", "--summary", "median"), 100_000),
        (arguments("tokens"), 10_000),
    ],
    ids=["vectors", "copy", "parquet", "npy", "genes", "median", "tokens"],
)
def test_a_full_disk(folder, words, n_bytes):
    """What is written beyond a limit fails, as on a full disk; with more room it goes on."""
    write(folder).rename(folder / "cells.h5ad")
    if "--overwrite" in words:
        (folder / words[3]).write_bytes(b"the result of last week")
    before = snapshot(folder)
    with largest_file(n_bytes):
        outcome = run_here(words, folder)
    expect_full_disk(outcome)
    expect_finished_shards(folder, beside(folder, before, words[3]), words[3])
    assert run_here(words, folder).status == 0
    assert not (folder / f"{words[3]}.parts").exists()


@pytest.mark.parametrize("output", ["out.h5ad", "out.zarr", "out.npy"])
def test_an_output_to_be_replaced_stays_whole_when_the_run_fails(folder, output):
    write(folder).rename(folder / "cells.h5ad")
    assert run_here(arguments(output), folder).status == 0
    values = counts(5100, mean=0.05)
    values.data[values.indptr[5000]] = 0.5
    adata_of(values).write_h5ad(folder / "cells.h5ad")
    before = snapshot(folder)
    outcome = run_here(arguments(output, "--overwrite"), folder)
    assert outcome.status == 2
    assert "row 5,000" in outcome.message
    assert snapshot(folder) == before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=lambda stop: stop.name)
@pytest.mark.parametrize("job", ["inspect pbmc.h5ad", "embed pbmc.h5ad -o out.h5ad -m model"])
def test_a_signal_ends_a_run_that_waits_for_a_library_that_spins(desk, tmp_path, job, stop):
    path = write(tmp_path)
    path.write_bytes(without_heap(path.read_bytes()))
    (tmp_path / "model").symlink_to(desk / "model")
    before = snapshot(tmp_path)
    longer = {**os.environ, "RANKFORMER_OPENING_SECONDS": "600"}
    process = start(tmp_path, job.split(), env=longer)
    child = spinning_copy(process)
    process.send_signal(stop)
    _, said = process.communicate(timeout=SECONDS_AT_MOST)
    # By itself, not by the guard, which would end it after 8 seconds.
    assert process.returncode == 128 + stop
    assert "nothing half-written" in said
    assert snapshot(tmp_path) == before
    assert not child.is_running()


def test_what_spins_is_killed_with_its_parent(tmp_path):
    """As by kill -9: it would hold what it has inherited, such as locks."""
    path = write(tmp_path)
    path.write_bytes(without_heap(path.read_bytes()))
    longer = {**os.environ, "RANKFORMER_OPENING_SECONDS": "600"}
    process = start(tmp_path, ["inspect", "pbmc.h5ad"], env=longer)
    child = spinning_copy(process)
    process.kill()
    process.communicate()
    child.wait(timeout=SECONDS_AT_MOST)


def spinning_copy(process: subprocess.Popen) -> psutil.Process:
    """The copy of a run that tries its file, once it has computed for longer than a sound one."""
    give_up = time.monotonic() + SECONDS_AT_MOST
    while time.monotonic() < give_up:
        assert process.poll() is None, process.stderr.read()
        for child in psutil.Process(process.pid).children():
            with suppress(psutil.Error):
                if child.cpu_times().user > 0.5:
                    return child
        time.sleep(0.05)
    raise AssertionError("nothing spins")


C_LOOP = """
import collections, itertools, sys
from rankformer.cli.process import ended_in_time, stopped_by_signals
with ended_in_time(seconds=0.5), stopped_by_signals():
    print("begun", file=sys.stderr, flush=True)
    collections.deque(itertools.repeat(0), maxlen=0)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_loop_that_never_sees_a_signal_is_ended(number):
    process = subprocess.Popen([sys.executable, "-c", C_LOOP], stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "begun\n"
    time.sleep(0.5)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


FORKED = """
import os, signal, sys, time
from rankformer.cli.process import ended_in_time, stopped_by_signals
with ended_in_time(seconds=0.5), stopped_by_signals():
    child = os.fork()
    if not child:
        try:
            time.sleep(60)
        except BaseException:
            os._exit(0)
    time.sleep(0.5)
    {then}
"""


def test_what_comes_to_a_child_does_not_end_its_parent():
    """As where the workers of a data loader are told to end."""
    then = "os.kill(child, signal.SIGTERM); time.sleep(2); sys.exit(7)"
    done = subprocess.run([sys.executable, "-c", FORKED.format(then=then)], timeout=60)
    assert done.returncode == 7


def test_a_child_that_lives_on_keeps_no_process_from_its_end():
    script = FORKED.format(then="print(child, flush=True); sys.exit(7)")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    try:
        assert process.wait(timeout=30) == 7
    finally:
        os.kill(child, signal.SIGKILL)


def test_other_signals_end_nothing():
    """Those of children that end come by the same way."""
    script = C_LOOP.replace(
        "collections.deque(itertools.repeat(0), maxlen=0)",
        "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: None); "
        "signal.raise_signal(signal.SIGUSR1); time.sleep(2)",
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert done.returncode == 0
