"""Ray: the result of one process, also where a node of the cluster is killed."""

import logging
import os
import signal
import subprocess
import sys
import time
from threading import Thread

import numpy as np
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
from rankformer.embed.vector_recipes import settle_on_ray
from rankformer.errors import CheckpointError, SettingsError, WorkerError
from rankformer.runs.engines.assignments import Assignments
from rankformer.runs.engines.ray_engine import connected
from rankformer.runs.engines.ray_resources import Resources, find_resources
from rankformer.runs.engines.ray_workers import ModelWorker
from rankformer.runs.engines.recipes import WorkElsewhere
from rankformer.runs.run import Run
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import cut_shards
from rankformer.runs.sources import RunInputs
from rankformer.runs.token_runs import TokenShards

RAY = RunSettings(engine="ray")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def expected(paths, tmp_path_factory):
    folder = tmp_path_factory.mktemp("local") / "run"
    run_shards(folder, paths, TokenShards())
    return tokens_of(folder)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes, each of processes of its own, on this machine."""
    pytest.importorskip("ray", reason="needs Ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def test_embeddings_are_those_of_one_process(cluster, paths, tmp_path):
    model = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    on_ray = {"engine": "ray", "address": cluster.address, "workers": 2}
    made = {}
    for name, engine in (("one", {}), ("two", on_ray)):
        settings = RunSettings(shard_cells=CELLS, **engine)
        job = EmbedJob(sources=tuple(paths), output=tmp_path / f"{name}.npy", run=settings)
        summary = embed_files(job, model, dtype="float32", batch_size=4)
        made[name] = np.load(job.output)
        assert summary.figures["n_cells"] == 90
    np.testing.assert_array_equal(made["one"], made["two"])
    assert np.isfinite(made["two"]).all()


def test_errors_come_back_and_inputs_are_set_aside(cluster, paths, expected, notes, tmp_path):
    settings = RunSettings(engine="ray", address=cluster.address)
    own = [tmp_path / path.name for path in paths]
    for path, copy in zip(paths, own, strict=True):
        copy.write_bytes(path.read_bytes())

    def damage():
        own[1].write_bytes(own[1].read_bytes()[:2000])

    failures = run_shards(tmp_path / "run", own, TokenShards(), settings, before=damage)
    assert {index: each.kind for index, each in failures.items()} == {1: "CountsError"}
    assert failures[1].path == str(own[1])
    left = {name: rows for name, rows in expected.items() if not name.startswith("0-000001")}
    assert tokens_of(tmp_path / "run") == left

    with pytest.raises(CheckpointError, match="weights are odd"):
        run_shards(tmp_path / "other", paths, Faulty(notes, "model", shard="0-8"), settings)
    assert len(begun_by(notes, "0-8")) == 1


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals as Linux has them")
def test_a_node_that_is_killed_costs_its_open_shards(
    cluster, paths, expected, notes, tmp_path, caplog
):
    settings = RunSettings(engine="ray", address=cluster.address, workers=2)
    (second,) = cluster.worker_nodes
    (raylet,) = second.all_processes["raylet"]
    node = psutil.Process(raylet.process.pid)
    done: list[set[str]] = []

    def kill_node():
        """When its worker is in the middle of its second shard."""
        give_up = time.monotonic() + 300
        while time.monotonic() < give_up and not done:
            pids = {each.pid for each in node.children(recursive=True)}
            begun = [each.name for each in notes.iterdir()]
            theirs = [each for each in begun if pids & set(begun_by(notes, each))]
            if len(theirs) >= 2:
                # Until the driver has heard of the first.
                time.sleep(0.7)
                done.append({each.stem for each in (tmp_path / "run" / "shards").glob("0-*et")})
                for each in [node, *node.children(recursive=True)]:
                    each.kill()
            time.sleep(0.05)

    killer = Thread(target=kill_node)
    killer.start()
    with caplog.at_level(logging.INFO, "rankformer"):
        recipe = Faulty(notes, seconds=2.0)
        assert run_shards(tmp_path / "run", paths, recipe, settings) == {}
    killer.join()
    assert tokens_of(tmp_path / "run") == expected
    again = [each.name for each in notes.iterdir() if len(begun_by(notes, each.name)) > 1]
    # One at least was open; a worker has two at most, the one that it computes and the next.
    assert 1 <= len(again) <= 2
    ((before,),) = [done]
    assert 1 <= len(before) < len(expected)
    names = {f"{int(index)}-{int(start)}" for index, start in
             (each.split("-")[1:3] for each in before)}  # fmt: skip
    assert not names & set(again)
    assert any("A worker of Ray was lost" in each.message for each in caplog.records)


@pytest.mark.slow
def test_ray_of_this_machine_sends_nothing_out(paths, expected, tmp_path):
    pytest.importorskip("ray", reason="needs Ray")
    found = {}

    def look():
        from ray._common.usage.usage_lib import usage_stats_enabled

        found["statistics"] = usage_stats_enabled()
        own = {address.address for each in psutil.net_if_addrs().values() for address in each}
        for process in psutil.Process().children(recursive=True):
            for each in process.net_connections(kind="inet"):
                if each.raddr and each.raddr.ip.removeprefix("::ffff:") not in own:
                    found[process.name()] = each.raddr

    handler = signal.getsignal(signal.SIGTERM)
    assert run_shards(tmp_path / "run", paths[:1], TokenShards(), RAY, before=look) == {}
    assert found == {"statistics": False}
    assert signal.getsignal(signal.SIGTERM) is handler
    own = {name: rows for name, rows in expected.items() if name.startswith("0-000000")}
    assert tokens_of(tmp_path / "run") == own


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals as Linux has them")
def test_a_signal_ends_a_run_on_ray_as_any_other(paths, tmp_path):
    """Ray waits in compiled code, which makes another error of what the handler raises."""
    pytest.importorskip("ray", reason="needs Ray")
    model = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    words = ["embed", *paths, "-o", tmp_path / "run", "-m", model, "--dtype", "float32",
             "--shard-cells", "1", "--engine", "ray", "--workers", "1"]  # fmt: skip
    command = [sys.executable, "-m", "rankformer", *map(str, words)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    give_up = time.monotonic() + 200
    while not list(tmp_path.glob("run/shards/*.parquet")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < give_up
        time.sleep(0.05)
    others = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, told
    assert "The same command goes on from there." in told
    assert "Traceback" not in told
    assert not psutil.wait_procs(others, timeout=10)[1]


def test_a_worker_that_does_not_see_the_run_says_so(paths, tmp_path):
    run_shards(tmp_path / "run", paths, TokenShards())
    run = Run.read(tmp_path / "run")
    work = WorkElsewhere.of(run, RunInputs(paths, small_vocabulary()), TokenShards())
    assert ModelWorker(logging.INFO).start(work, "cpu", 1).error is None
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    error = ModelWorker(logging.INFO).start(work, "cpu", 1).error
    assert isinstance(error, WorkerError)
    assert f"does not see the folder of the run, {tmp_path / 'run'}" in error.found


def nodes(*resources):
    return [{"Alive": True, "Resources": each} for each in resources]


GPUS = nodes({"CPU": 16.0}, {"CPU": 32.0, "GPU": 4.0}, {"CPU": 32.0, "GPU": 4.0})
CPUS = [*nodes({"CPU": 8.0}, {"CPU": 16.0}), {"Alive": False, "Resources": {"CPU": 64.0}}]


@pytest.mark.parametrize(
    ("found", "settings", "device", "expected"),
    [
        (GPUS, {}, "auto", Resources(8, "cuda", 1, 0, 1, 4)),
        (GPUS, {"gpus_per_worker": 0.5}, "cuda", Resources(16, "cuda", 0.5, 0, 1, 2)),
        (GPUS, {"workers": 3}, "cuda", Resources(3, "cuda", 1, 0, 1, 10)),
        (GPUS, {}, "cpu", Resources(3, "cpu", 0, 16, 0, 16)),
        (GPUS, {"gpus_per_worker": 0}, "auto", Resources(3, "cpu", 0, 16, 0, 16)),
        (CPUS, {}, "auto", Resources(2, "cpu", 0, 8, 0, 8)),
        (CPUS, {"workers": 4}, "auto", Resources(4, "cpu", 0, 4, 0, 4)),
        (nodes({"CPU": 1.0}), {"workers": 2}, "auto", Resources(2, "cpu", 0, 1, 0, 1)),
    ],
)  # fmt: skip
def test_a_cluster_is_shared_out(found, settings, device, expected):
    assert find_resources(found, RunSettings(engine="ray", **settings), device) == expected


@pytest.mark.parametrize(
    ("found", "gpus", "device"), [(CPUS, None, "cuda"), (CPUS, 1, "auto"), (GPUS, 1, "cpu")]
)
def test_gpus_that_there_are_not_are_refused(found, gpus, device):
    with pytest.raises(SettingsError, match="GPUs for each worker"):
        find_resources(found, RunSettings(engine="ray", gpus_per_worker=gpus), device)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"address": "auto"}, "address is given as 'auto'"),
        ({"workers": 2}, "workers is given as 2"),
        ({"gpus_per_worker": 1}, "gpus_per_worker is given as 1"),
        ({"engine": "ray", "workers": 0}, "0 workers"),
        ({"engine": "ray", "gpus_per_worker": 2}, "2 GPUs"),
        ({"engine": "dask"}, "The engine 'dask'"),
    ],
)
def test_settings_that_nothing_reads_are_refused(settings, told):
    with pytest.raises(SettingsError, match=told):
        RunSettings(**settings)


def test_an_empty_address_is_refused():
    """As of a variable of the shell that is not set."""
    with pytest.raises(SettingsError, match="is empty"):
        RunSettings(engine="ray", address="")


@pytest.mark.parametrize("device", ["cuda:1", "cuda:all", ["cpu", "cpu"]])
def test_a_device_is_for_ray_to_choose(device):
    with pytest.raises(SettingsError, match="for Ray to say"):
        settle_on_ray(None, RAY, device=device)


def test_without_ray_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match="Install it with `pip install"), connected(RAY):
        pass


def test_shards_of_a_dead_worker_come_again_each_alone(paths):
    """So that the one that ends workers is found, and the others are not blamed."""
    inputs = RunInputs(paths, small_vocabulary())
    shards = cut_shards(0, 3 * CELLS, CELLS)
    assignments = Assignments(shards, inputs, fail_fast=False)
    first, second = (assignments.take(is_idle=i == 0) for i in range(2))
    assignments.worker_died([first.shard, second.shard], "was lost")
    assert assignments.n_left == 3
    busy = assignments.take(is_idle=False)
    assert (busy.shard, busy.alone) == (shards[2], False)
    assert assignments.take(is_idle=False) is None
    assert [assignments.take(is_idle=True) for _ in range(2)] == [
        type(busy)(shards[0], alone=True), type(busy)(shards[1], alone=True),
    ]  # fmt: skip
    assert not inputs.failures
