"""Worker processes: the result of one process, also where some die."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from tests.conftest import save_small_checkpoint, small_vocabulary
from tests.runs.engines.tasks import (
    CELLS,
    Faulty,
    begun_by,
    run_shards,
    tokens_of,
    write_cells,
)

from rankformer.embed.files import embed_files
from rankformer.embed.settings import EmbedJob
from rankformer.errors import CheckpointError, MissingFileError, SettingsError, WorkerError
from rankformer.runs.settings import RunSettings
from rankformer.runs.token_runs import TokenShards

TWO, ONE = ("cpu", "cpu"), ("cpu",)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def expected(paths, tmp_path_factory):
    folder = tmp_path_factory.mktemp("local") / "run"
    run_shards(folder, paths, TokenShards())
    return tokens_of(folder)


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def test_embeddings_are_those_of_one_process(paths, tmp_path):
    model = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    made = {}
    for name, device in (("one", "cpu"), ("two", list(TWO))):
        job = EmbedJob(sources=tuple(paths), output=tmp_path / f"{name}.npy",
                       run=RunSettings(shard_cells=CELLS))  # fmt: skip
        summary = embed_files(job, model, device=device, dtype="float32", batch_size=4)
        made[name] = np.load(job.output)
        assert summary.figures["n_cells"] == 90
    np.testing.assert_array_equal(made["one"], made["two"])
    assert np.isfinite(made["two"]).all()


def test_vectors_of_genes_are_those_of_one_process(paths, tmp_path):
    model = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    made = []
    for name, device in (("one", "cpu"), ("two", list(TWO))):
        job = EmbedJob(sources=tuple(paths), output=tmp_path / f"{name}.parquet", mode="gene",
                       run=RunSettings(shard_cells=CELLS))  # fmt: skip
        embed_files(job, model, device=device, dtype="float32", batch_size=4)
        made.append(pd.read_parquet(job.output))
    pd.testing.assert_frame_equal(*made)
    assert made[0]["cell"].nunique() == 90


@pytest.mark.parametrize("how", ["killed", pytest.param("cuda", marks=pytest.mark.slow)])
def test_a_worker_that_dies_costs_what_it_had_open(how, paths, expected, notes, tmp_path, caplog):
    recipe = Faulty(notes, how, shard="1-8", times=1)
    with caplog.at_level(logging.INFO, "rankformer"):
        assert run_shards(tmp_path / "run", paths, recipe, devices=TWO) == {}
    assert tokens_of(tmp_path / "run") == expected
    times = [len(begun_by(notes, each.name)) for each in notes.iterdir()]
    assert sorted(times) == [1] * 11 + [2]
    (told,) = [each.getMessage() for each in caplog.records if "Worker process" in each.message]
    assert ("SIGKILL" if how == "killed" else "exit status 70") in told
    assert not list((tmp_path / "run" / "shards").glob("*.part"))


@pytest.mark.slow
def test_a_shard_that_ends_every_worker_fails_its_input_alone(paths, expected, notes, tmp_path):
    recipe = Faulty(notes, "killed", shard="1-8")
    failures = run_shards(tmp_path / "run", paths, recipe, devices=TWO)
    assert {index: each.kind for index, each in failures.items()} == {1: "WorkerError"}
    assert "the cells 8 to 15" in failures[1].found
    made = tokens_of(tmp_path / "run")
    of_others = {name: rows for name, rows in expected.items() if not name.startswith("0-000001")}
    assert made.items() >= of_others.items()
    assert len(begun_by(notes, "1-8")) == 3


@pytest.mark.slow
def test_workers_that_all_die_end_the_run(paths, notes, tmp_path):
    with pytest.raises(WorkerError, match="4 ended in a row without doing a shard"):
        run_shards(tmp_path / "run", paths, Faulty(notes, "start"), devices=ONE)
    assert not tokens_of(tmp_path / "run")


@pytest.mark.parametrize(("how", "kind"), [("model", CheckpointError), ("bug", TypeError)])
def test_errors_come_back(how, kind, paths, notes, tmp_path):
    with pytest.raises(kind) as error:
        run_shards(tmp_path / "run", paths, Faulty(notes, how, shard="0-8"), devices=ONE)
    assert len(begun_by(notes, "0-8")) == 1
    if how == "bug":
        assert "fault of the program" in error.value.__notes__[0]


def test_an_input_that_cannot_be_read_is_set_aside(paths, expected, tmp_path):
    own = [tmp_path / path.name for path in paths]
    for path, copy in zip(paths, own, strict=True):
        copy.write_bytes(path.read_bytes())
    failures = run_shards(
        tmp_path / "run", own, TokenShards(), devices=ONE, before=own[1].unlink
    )  # fmt: skip
    assert {index: each.kind for index, each in failures.items()} == {1: "MissingFileError"}
    assert failures[1].path == str(own[1])
    left = {name: rows for name, rows in expected.items() if not name.startswith("0-000001")}
    assert tokens_of(tmp_path / "run") == left
    own[1].write_bytes(paths[1].read_bytes())
    with pytest.raises(MissingFileError):
        run_shards(
            tmp_path / "other", own, TokenShards(), RunSettings(fail_fast=True), ONE,
            before=own[1].unlink,
        )  # fmt: skip


SCRIPT = """
import sys
from pathlib import Path
from tests.runs.engines.tasks import Faulty, run_shards
from rankformer.cli.process import Stopped, stopped_by_signals

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    paths = sorted(folder.glob("*.h5ad"))
    try:
        with stopped_by_signals():
            recipe = Faulty(folder / "notes", "stuck", "0-8")
            run_shards(folder / "run", paths, recipe, devices=["cpu", "cpu"])
    except Stopped as stop:
        sys.exit(128 + stop.signal)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals as Linux has them")
@pytest.mark.parametrize("number", [
    signal.SIGINT, signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
])  # fmt: skip
def test_workers_end_with_their_parent(number, notes, tmp_path):
    """Also one that holds Python's lock, as a library does that never returns."""
    write_cells(tmp_path, n_files=1)
    (tmp_path / "script.py").write_text(SCRIPT)
    root = Path(__file__).resolve().parents[3]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", tmp_path], env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )  # fmt: skip
    give_up = time.monotonic() + 120
    while not begun_by(notes, "0-8"):
        assert parent.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.05)
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert begun_by(notes, "0-8")[0] in [each.pid for each in workers]
    # Ctrl-C goes to all processes of a terminal.
    os.killpg(parent.pid, number) if number == signal.SIGINT else parent.send_signal(number)
    status = parent.wait(30)
    assert status == (-9 if number == signal.SIGKILL else 128 + number)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    if number != signal.SIGKILL:
        assert not list((tmp_path / "run" / "shards").glob("*.part"))


def test_all_gpus_where_there_is_none(command, cells, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there are GPUs")
    model = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    words = ("-m", model, "--device", "cuda:all")
    status, _, told = command("embed", cells, "-o", tmp_path / "x.npy", *words)
    assert status == 2
    assert "'cuda:all' was asked for" in told
    assert "finds: cpu" in told
    assert not (tmp_path / "x.npy.parts").exists()


def test_work_without_a_recipe_stays_in_this_process(paths, notes, tmp_path):
    with pytest.raises(SettingsError, match="several devices"):
        run_shards(tmp_path / "run", paths, _Local(), devices=TWO)


class _Local:
    def compute(self, source, shard, parts, out, progress):
        raise AssertionError


def test_options_that_cannot_be_sent_are_refused(paths, tmp_path, notes):
    with pytest.raises(SettingsError, match="cannot be sent"):
        run_shards(tmp_path / "run", paths, Faulty(notes, tokens=lambda: None), devices=TWO)
