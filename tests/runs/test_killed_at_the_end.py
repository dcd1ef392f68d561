"""Runs that are killed between the writing of their output and the end of their parts."""

import os
import signal
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from datasets import load_from_disk
from tests.faults.bad_input import run_here, snapshot
from tests.runs.commands import KEY, SIZES, embed, expect_whole, give

from rankformer import scratch
from rankformer.runs import run as runs

# The output is there, and of its parts nothing is deleted yet.
KILLED = """
import os, signal
from rankformer.runs import run
run.scratch_folder = lambda path: os.kill(os.getpid(), signal.SIGKILL)
from rankformer.cli import main
main()
"""
OF_ONE = "embed cells/a.h5ad -m model --dtype float32 --shard-cells 20"
ANNOTATE = (
    "annotate cells/a.h5ad -r cells/c.h5ad --label cell_type --n-neighbors 5 -m model "
    "--dtype float32"
)
PERTURB = (
    "perturb cells/c.h5ad -m model --dtype float32 --genes G1,G2 --n-cells 6 --shard-cells 3 "
    "--read-out gene"
)


class Killed(BaseException):
    """As a signal that nothing handles."""


def kill(*_):
    raise Killed


@pytest.fixture
def killed_in(folder, monkeypatch):
    """Give a command that ends in a function."""

    def run(command, module, name, instead=kill):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, instead)
            with pytest.raises(Killed):
                run_here(command.split(), folder)

    return run


@pytest.fixture
def killed_at_the_end(killed_in):
    """Give a command that ends as its output has got its name."""

    def run(command):
        killed_in(command, runs, "scratch_folder")

    return run


def read(path):
    """The result, in a form that can be compared."""
    if path.suffix in (".h5ad", ".zarr"):
        adata = (ad.read_h5ad if path.suffix == ".h5ad" else ad.read_zarr)(path)
        return [*adata.obs_names, *adata.obsm[KEY].ravel().tolist()]
    if path.suffix == ".npy":
        return np.load(path).ravel().tolist()
    if path.suffix == "":
        return load_from_disk(str(path)).to_dict()["input_ids"]
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    # As text, in which NaN is like itself.
    return [str([np.asarray(each).tolist() for each in row]) for row in table.to_numpy(object)]


@pytest.mark.parametrize(
    "command",
    [
        f"{OF_ONE} -o out.h5ad",
        f"{OF_ONE} -o out.zarr",
        f"{OF_ONE} --mode gene -o out.parquet",
        f"{ANNOTATE} -o out.csv",
        "tokenize cells -m model --shard-cells 20 -o out",
        f"{PERTURB} -o out.parquet",
    ],
)
def test_the_same_command_ends_it(folder, killed_at_the_end, command):
    killed_at_the_end(command)
    output = folder / command.rpartition(" ")[2]
    parts = folder / f"{output.name}.parts"
    assert parts.exists()
    before = read(output)
    give(folder, command)
    assert read(output) == before
    assert not parts.exists()
    left = {each.name for each in folder.iterdir()} - {"cells", "model"}
    assert all(each.startswith("out.") or each == "out" for each in left)
    assert not [each for each in left if each.endswith((".part", ".parts"))]
    assert "exists already" in give(folder, command, 2)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_real_kill(folder, whole):
    words = embed("out.parquet")
    done = subprocess.run([sys.executable, "-c", KILLED, *words.split()], cwd=folder)
    assert done.returncode == -signal.SIGKILL
    expect_whole(folder, "out.parquet", whole)
    assert (folder / "out.parquet.parts" / "manifest.json").exists()
    said = give(folder, words)
    assert "9 of 9 shards were done before" in said
    assert "written again from its parts" in said
    expect_whole(folder, "out.parquet", whole)
    assert not (folder / "out.parquet.parts").exists()


def test_killed_again_as_it_is_written_again(folder, whole, killed_at_the_end, killed_in):
    """With the old file under the name, or the new one."""
    for _ in range(2):
        killed_at_the_end(embed("out.parquet"))
    killed_in(embed("out.parquet"), scratch, "_replace")
    expect_whole(folder, "out.parquet", whole)
    give(folder, embed("out.parquet"))
    expect_whole(folder, "out.parquet", whole)
    assert not (folder / "out.parquet.parts").exists()


@pytest.mark.parametrize("command", [f"{OF_ONE} -o out.npy", f"{PERTURB} -o out.parquet"])
def test_killed_between_the_two_files_of_a_result(folder, killed_in, command):
    named = []

    def name_one(part, path):
        if named:
            raise Killed
        named.append(path)
        os.link(part, path)

    killed_in(command, scratch, "_take_free_name", name_one)
    assert len(named) == 1
    assert named[0].name in {each.name for each in folder.iterdir()}
    give(folder, command)
    assert not list(folder.glob("*.parts"))
    assert len(list(folder.glob("out.*"))) == 2


@pytest.mark.parametrize("name", ["out.parquet", "out"])
def test_a_file_of_the_user_is_never_taken_for_the_result(folder, killed_at_the_end, name):
    """Not one of before, and not one that was put there, or changed, after the kill."""
    command = embed(name) if name != "out" else "tokenize cells -m model -o out --shard-cells 20"
    killed_at_the_end(command)
    own = folder / name
    kept = own.with_name("kept")
    own.rename(kept)
    if own.suffix:
        own.write_bytes(kept.read_bytes())
    else:
        own.mkdir()
        (own / "mine.txt").write_text("mine")
    before = snapshot(folder)
    for more in ("", " --restart"):
        said = give(folder, f"{command}{more}", 2)
        assert f"{name} exists already" in said
        assert f"{name}.parts holds the parts of a run for it" in said
    assert snapshot(folder) == before
    # Put back as it was, it is known again.
    for file in sorted(own.iterdir()) if own.is_dir() else [own]:
        file.unlink()
    if own.is_dir():
        own.rmdir()
    kept.rename(own)
    give(folder, command)


def test_another_command_is_refused_and_keeps_the_result(folder, whole, killed_at_the_end):
    killed_at_the_end(embed("out.parquet"))
    before = snapshot(folder)
    said = give(folder, f"{embed('out.parquet')} --mode cls", 2)
    assert "mode (--mode)" in said
    assert "exists already" in give(folder, f"{embed('out.parquet')} --restart", 2)
    assert "exists already" in give(folder, "merge out.parquet.parts -o out.parquet", 2)
    assert snapshot(folder) == before
    give(folder, f"{embed('out.parquet')} --mode cls --restart --overwrite")
    assert len(pd.read_parquet(folder / "out.parquet")) == sum(SIZES.values())


def test_a_partial_merge_at_the_output_is_not_the_result(folder):
    """It is of the same parts, but no run put it there."""
    give(folder, embed("run"))
    (folder / "run").rename(folder / "out.parquet.parts")
    next((folder / "out.parquet.parts" / "shards").glob("*.parquet")).unlink()
    give(folder, "merge out.parquet.parts -o out.parquet --partial")
    before = snapshot(folder)
    assert "exists already" in give(folder, embed("out.parquet"), 2)
    assert snapshot(folder) == before


def test_an_input_that_cannot_be_read_any_more_leaves_the_result(folder, whole, killed_at_the_end):
    killed_at_the_end(embed("out.parquet"))
    (folder / "cells" / "b.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n")
    before = (folder / "out.parquet").read_bytes()
    said = give(folder, embed("out.parquet"), 2)
    assert "b.h5ad is another than it was" in said
    assert (folder / "out.parquet").read_bytes() == before
