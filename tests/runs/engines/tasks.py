"""Tasks of workers that die, fail or never end, beside that which tokenizes."""

import ctypes
import os
import signal
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import pandas as pd
import pyarrow.parquet as pq
from tests.conftest import small_counts, small_vocabulary

from rankformer.errors import CheckpointError
from rankformer.runs.engines.recipes import Recipe
from rankformer.runs.manifest import Work
from rankformer.runs.run import open_run
from rankformer.runs.settings import RunSettings
from rankformer.runs.sources import RunInputs
from rankformer.runs.token_runs import TokenShards
from rankformer.runs.work import do_shards, engine_ready

CELLS = 8


def write_cells(folder: Path, n_files: int = 3, n_cells: int = 30) -> list[Path]:
    """Files of counts that differ."""
    paths = []
    for i in range(n_files):
        var = pd.DataFrame(index=[f"G{j}" for j in range(1, 151)])
        adata = ad.AnnData(small_counts(n_cells, 150, seed=i), var=var)
        adata.obs_names = [f"f{i}c{j}" for j in range(n_cells)]
        paths.append(folder / f"cells{i}.h5ad")
        adata.write_h5ad(paths[-1])
    return paths


@dataclass(frozen=True, eq=False)
class Faulty(Recipe):
    """Tokenizes, notes each shard that it begins, and fails at one of them.

    `how` is "killed", "cuda", "bug", "model", "stuck", or "start" for before any shard; `times`,
    how often, and -1 for always. Each shard takes `seconds` more.
    """

    notes: Path
    how: str = ""
    shard: str = ""
    times: int = -1
    seconds: float = 0.0
    tokens: TokenShards = field(default_factory=TokenShards)
    device = "cpu"

    def start(self, device, n_threads):
        if self.how == "start":
            os.kill(os.getpid(), signal.SIGKILL)
        return self

    def compute(self, parts, n_cells, progress):
        return self.tokens.compute(parts, n_cells, progress)

    def write(self, source, shard, values, out):
        name = f"{shard.input}-{shard.start}"
        with (self.notes / name).open("a") as notes:
            notes.write(f"{os.getpid()}\n")
        begun = len(begun_by(self.notes, name))
        if name == self.shard and (self.times < 0 or begun <= self.times):
            self.fail()
        time.sleep(self.seconds)
        self.tokens.write(source, shard, values, out)

    def fail(self):
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        if self.how == "cuda":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if self.how == "model":
            raise CheckpointError("The weights are odd.", "Sound weights.", "Fetch them again.")
        if self.how == "stuck":
            # It holds Python's lock, as HDF5 does where a file makes it spin.
            ctypes.PyDLL(None).sleep(600)
        raise TypeError("a fault of the program")


def begun_by(notes: Path, shard: str) -> list[int]:
    """The processes that began a shard, one after the other."""
    file = notes / shard
    return [int(each) for each in file.read_text().split()] if file.exists() else []


def run_shards(folder, paths, recipe, settings=None, devices=(), before=None):
    """Tokenize files into shards, as a command does; give the run's folder and the failures."""
    settings = settings or RunSettings()
    with closing(RunInputs(paths, small_vocabulary())) as inputs:

        def describe(manifest):
            return Work("test", {}, {}, CELLS), inputs.survey(manifest), {}

        with engine_ready(settings), open_run(folder, settings, describe) as run:
            if before is not None:
                before()
            do_shards(run, run.shards(), inputs, recipe, settings, "Testing", devices)
    return inputs.failures


def tokens_of(folder: Path) -> dict[str, list]:
    """Shard → its cells and tokens."""
    return {
        file.stem: pq.read_table(file).to_pylist()
        for file in sorted((folder / "shards").glob("*.parquet"))
    }
