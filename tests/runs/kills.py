"""Runs of many shards that are killed at random moments, gone on with, and compared."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import load_from_disk
from tests.faults.bad_input import run_process, save_models
from tests.faults.cells import adata_of, counts

N_CELLS = 480
Reader = Callable[[Path], pd.DataFrame]


@dataclass(frozen=True)
class Way:
    """A way to run: the commands, of which each is killed, and the one that ends it, if any."""

    name: str
    commands: tuple[str, ...]
    ending: str
    output: str
    alone: str


def read_tokens(path: Path) -> pd.DataFrame:
    """Tokens of cells, with their names."""
    from rankformer.tokens.tokenized_cells import TokenizedCells

    table = pd.DataFrame(load_from_disk(str(path)).to_dict())
    table["cell"] = TokenizedCells.load(path).cell_names.to_pylist()
    return table


def read(path: Path) -> pd.DataFrame:
    """A result as a table."""
    return read_tokens(path) if path.is_dir() else pd.read_parquet(path)


@contextmanager
def ray_cluster() -> Iterator[str]:
    """The address of a cluster of processes on this machine, which outlives what is killed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def ways(address: str | None = None) -> list[Way]:
    """Embedding, tokens and perturbation: into a file, into a folder, and in shares.

    With the address of a cluster also by workers of Ray.
    """
    few = "--genes G1,G2,G3 --n-cells 200 --seed 1"
    tasks = {
        "embed": ("embed a.h5ad b.h5ad -m model --dtype float32", "--shard-cells 20", ".parquet"),
        "tokenize": ("tokenize a.h5ad b.h5ad -m model", "--shard-cells 20", ""),
        "perturb": (
            f"perturb a.h5ad b.h5ad -m model --dtype float32 {few}", "--shard-cells 8", ".parquet",
        ),
    }  # fmt: skip
    found = []
    for name, (words, cut, ending) in tasks.items():
        alone = f"{words} -o alone-{name}{ending}"
        merge = f"merge run -o out{ending}"
        whole = f"{words} {cut} -o out{ending}"
        found.append(Way(f"{name}, file", (whole,), "", f"out{ending}", alone))
        shares = tuple(f"{words} {cut} -o run --shard {i}/3" for i in (1, 2, 3))
        found.append(Way(f"{name}, shares", shares, merge, f"out{ending}", alone))
        if name != "tokenize":
            folder = (f"{words} {cut} -o run",)
            found.append(Way(f"{name}, folder", folder, merge, f"out{ending}", alone))
        if address is not None:
            # Tokens are one folder as soon as they are whole, without a merge.
            place, end = ("out", "") if name == "tokenize" else ("run", merge)
            on_ray = f"{words} {cut} -o {place} --engine ray --workers 1 --address {address}"
            found.append(Way(f"{name}, Ray", (on_ray,), end, f"out{ending}", alone))
    return found


def kill_until_done(folder: Path, words: Sequence[str], rng: random.Random, most: int) -> int:
    """Run a command, killed at random moments, until it ends; the number of kills.

    Most moments come after a random number of new shards, as starting takes the most time; some at
    any time, in the start or in the writing of the result.
    """
    for n_kills in range(most + 1):
        process = subprocess.Popen(
            [sys.executable, "-m", "rankformer", *words], cwd=folder,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if n_kills < most:
            wait_for_a_moment(process, folder, rng)
            process.kill()
        said = process.communicate()[1]
        output = folder / words[words.index("-o") + 1]
        is_whole = "exists already" in said and not Path(f"{output}.parts").exists()
        if process.returncode == 0 or (process.returncode == 2 and is_whole):
            # Killed as the parts were being removed, which came last.
            return n_kills
        assert process.returncode == -signal.SIGKILL, f"{' '.join(words)}: {said}"
    raise AssertionError("It was left alone and did not end.")


def wait_for_a_moment(process: subprocess.Popen, folder: Path, rng: random.Random) -> None:
    """Until the process is to be killed, or has ended."""
    n_before, give_up = count_shards(folder), time.monotonic() + 60
    n_more = rng.choice((0, 0, 1, 2, 3, 5, 8, 13))
    if n_more == 0:
        give_up = time.monotonic() + rng.uniform(0, 8)
    while process.poll() is None and time.monotonic() < give_up:
        if n_more and count_shards(folder) >= n_before + n_more:
            break
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.1))


def count_shards(folder: Path) -> int:
    """Shards that are there, in any run; none where the run removes its folder meanwhile."""
    try:
        return sum(1 for _ in folder.glob("*/shards/*.parquet"))
    except FileNotFoundError:
        return 0


def expect_alike(found: pd.DataFrame, right: pd.DataFrame) -> None:
    """Every row once, in the same order, with the same values."""
    assert list(found.columns) == list(right.columns)
    assert len(found) == len(right), f"{len(found)} rows for {len(right)}"
    for name in right:
        own, other = found[name], right[name]
        if other.dtype.kind == "f":
            np.testing.assert_allclose(own, other, atol=3e-6, err_msg=str(name))
        elif len(other) and isinstance(other.iloc[0], list | np.ndarray):
            np.testing.assert_allclose(np.concatenate(own), np.concatenate(other), atol=3e-6)
        else:
            assert own.equals(other), name


def try_way(desk: Path, folder: Path, way: Way, rng: random.Random, most: int) -> int:
    """One round; the number of kills."""
    folder.mkdir()
    for each in ("a.h5ad", "b.h5ad", "model"):
        (folder / each).symlink_to(desk / each)
    n_kills = sum(
        kill_until_done(folder, words.split(), rng, most)
        for words in rng.sample(way.commands, len(way.commands))
    )
    if way.ending:
        ended = run_process(way.ending.split(), folder)
        assert ended.status == 0, ended.stderr
    alone = way.alone.split("-o ")[1]
    expect_alike(read(folder / way.output), read(desk / alone))
    left = {each.name for each in folder.iterdir()} - {
        "run",
        way.output,
        "a.h5ad",
        "b.h5ad",
        "model",
    }
    assert all(each.endswith(".part") for each in left), left
    shutil.rmtree(folder)
    return n_kills


def lay_out(desk: Path) -> None:
    """Two files of cells, models, and the results of runs that are left alone."""
    save_models(desk)
    values = counts(N_CELLS)
    for name, rows in (("a", slice(0, 300)), ("b", slice(300, N_CELLS))):
        adata = adata_of(values[rows])
        adata.obs_names = [f"{name}{i}" for i in range(adata.n_obs)]
        adata.write_h5ad(desk / f"{name}.h5ad")
    for words in sorted({way.alone for way in ways()}):
        done = run_process(words.split(), desk)
        assert done.status == 0, done.stderr
