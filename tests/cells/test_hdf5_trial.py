"""Files of HDF5 are given up on, where the library finds no end or crashes; others are not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import psutil
import pytest
from tests.cells.count_files import make_adata, write_tenx_h5
from tests.damage import with_looped_index, without_heap
from tests.faults.bad_input import run_here

from rankformer.cells import hdf5_trial, hdf5_walk
from rankformer.cells.file_kinds import find_files
from rankformer.cells.hdf5_trial import SECONDS_VARIABLE, seconds_allowed, try_hdf5
from rankformer.cells.hdf5_walk import walk_hdf5
from rankformer.cells.obsm import list_obsm
from rankformer.cells.source import open_cells, read_var, survey_matrices
from rankformer.errors import CountsError, SettingsError

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="signals and limits as Linux has them"
)


@pytest.fixture
def sound(tmp_path) -> Path:
    make_adata().write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


@pytest.fixture
def endless(sound) -> Path:
    sound.write_bytes(without_heap(sound.read_bytes()))
    return sound


@pytest.fixture
def one_second(monkeypatch):
    monkeypatch.setenv(SECONDS_VARIABLE, "1")


@pytest.mark.usefixtures("one_second")
@pytest.mark.parametrize("read", [open_cells, survey_matrices, read_var, list_obsm, find_files])
def test_whatever_opens_it_comes_to_an_end(endless, read):
    with pytest.raises(CountsError) as caught:
        read(endless)
    assert str(endless) in caught.value.found
    assert "within 1 seconds of computing" in caught.value.found
    assert "damaged" in caught.value.found
    assert "undamaged" in caught.value.expected
    assert f"{SECONDS_VARIABLE} to more than 1" in caught.value.fix


@pytest.mark.usefixtures("one_second")
@pytest.mark.parametrize(
    "job", ["inspect cells.h5ad", "embed cells.h5ad -o out.npy -m rankformer-mini"]
)
def test_commands_end_with_a_message(endless, job):
    outcome = run_here(job.split(), endless.parent)
    assert outcome.status == 2
    assert "most likely it is damaged" in outcome.message


@pytest.mark.usefixtures("one_second")
def test_a_damaged_file_of_a_folder_is_found(sound, tmp_path):
    """When the folder is searched, only names are looked at in files that are not small."""
    (tmp_path / "z.h5ad").write_bytes(without_heap(sound.read_bytes()))
    with pytest.raises(CountsError, match=r"z\.h5ad could not be opened within"):
        find_files(tmp_path)


@pytest.mark.parametrize("small_bytes", [0, 16 << 20], ids=["index alone", "values too"])
def test_a_file_on_which_the_library_crashes(sound, monkeypatch, small_bytes):
    """Of large arrays, the index of chunks is gone through, and no value is read."""
    monkeypatch.setattr(hdf5_walk, "_SMALL_BYTES", small_bytes)
    with_looped_index(sound)
    with pytest.raises(CountsError, match=r"HDF5 library crashed on it \(SIGSEGV\)"):
        open_cells(sound)


def test_out_of_memory_is_told_from_damage(sound, monkeypatch):
    """The system kills what takes too much."""
    monkeypatch.setattr(hdf5_trial, "walk_hdf5", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(CountsError, match=r"was killed, as the system does when memory runs out"):
        open_cells(sound)


def test_plain_errors_are_those_of_the_opening_itself(sound):
    content = sound.read_bytes()
    sound.write_bytes(content[: len(content) // 2])
    with pytest.raises(CountsError, match=r"could not be read: .*truncated"):
        open_cells(sound)


def test_the_time_grows_with_the_file(endless, monkeypatch):
    assert seconds_allowed(0) == 10
    assert seconds_allowed(10 << 30) == 10 + 1024
    monkeypatch.setenv(SECONDS_VARIABLE, "0.5")
    # HDF5 does not mind what lies behind its end.
    with endless.open("ab") as stream:
        stream.truncate(25 << 20)
    with pytest.raises(CountsError, match=r"within 3 seconds of computing"):
        open_cells(endless)


@pytest.mark.parametrize("given", ["0", "-1", "soon", "inf", "nan", ""])
def test_a_time_that_is_none(sound, monkeypatch, given):
    monkeypatch.setenv(SECONDS_VARIABLE, given)
    with pytest.raises(SettingsError, match=f"{SECONDS_VARIABLE} is {given!r}"):
        open_cells(sound)


@pytest.mark.usefixtures("one_second")
def test_waiting_for_slow_storage_is_not_counted(sound, monkeypatch):
    monkeypatch.setattr(hdf5_trial, "walk_hdf5", lambda *_: time.sleep(2))
    with open_cells(sound) as cells:
        assert cells.n_cells == 60


@pytest.mark.usefixtures("one_second")
def test_storage_that_does_not_answer_at_all(sound, monkeypatch):
    monkeypatch.setattr(hdf5_trial, "walk_hdf5", lambda *_: time.sleep(60))
    monkeypatch.setattr(hdf5_trial, "_PATIENCE", 2)
    before = psutil.Process().children()
    with pytest.raises(CountsError, match=r"within 2 seconds, which were spent waiting"):
        open_cells(sound)
    assert psutil.Process().children() == before


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Few counts, and as many texts as fit into 25 MB: all that opening reads."""
    n_cells = 300_000
    names = pd.Index([f"AAACCTGAGAAACCAT-{i}" for i in range(n_cells)])
    obs = pd.DataFrame({"barcode": names.to_numpy(), "n": np.arange(n_cells)}, index=names)
    adata = ad.AnnData(obs=obs)
    path = tmp_path_factory.mktemp("many") / "many.h5ad"
    adata.write_h5ad(path)
    assert path.stat().st_size > 20 << 20
    return path


def test_a_sound_large_file_is_not_refused(many):
    try_hdf5(many)
    try_hdf5(many, ())


def test_sound_files_of_each_kind(tmp_path):
    write_tenx_h5(tmp_path / "a.h5", make_adata())
    make_adata().write_h5ad(tmp_path / "b.h5ad", compression="gzip")
    with h5py.File(tmp_path / "c.h5mu", "w") as file:
        ad.io.write_elem(file, "mod/rna", make_adata())
    for path in sorted(tmp_path.iterdir()):
        with open_cells(path) as cells:
            assert cells.n_cells == 60


@pytest.mark.parametrize(
    ("name", "parts"),
    [("cells.h5ad", None), ("cells.h5ad", ("obs",)), ("damaged.h5ad", None), ("damaged.h5ad", ())],
)
def test_where_no_process_can_be_copied_a_new_one_is_started(sound, name, parts):
    """As on macOS and Windows."""
    path = sound.with_name(name)
    path.write_bytes(sound.read_bytes())
    if name == "damaged.h5ad":
        path.write_bytes(without_heap(path.read_bytes()))
    end = hdf5_trial._started(str(path), parts, 1)
    assert end.status == (None if name == "damaged.h5ad" else 0)


def test_a_new_process_that_crashes(sound):
    end = hdf5_trial._started(str(with_looped_index(sound)), None, 10)
    assert end.status == -signal.SIGSEGV


def test_no_other_file_is_entered(endless, tmp_path, one_second):
    """Only who reads such a part opens the other file."""
    with h5py.File(tmp_path / "links.h5ad", "w") as file:
        file["obs"] = h5py.ExternalLink(str(endless), "obs")
        file["soft"] = h5py.SoftLink("/nowhere")
        file["loop/back"] = h5py.SoftLink("/loop")
    walk_hdf5(str(tmp_path / "links.h5ad"))


QUIET = """
import atexit, gc, os, signal, sys, tempfile, threading
import rankformer
from rankformer.cells import hdf5_trial, source
def walk(*_):
    gc.set_threshold(10)
    return [[] for _ in range(1000)]
hdf5_trial.walk_hdf5 = walk
sys.stdout.write("once ")
folder = tempfile.TemporaryDirectory()
atexit.register(lambda: print("ended", end=" "))
tell = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
class Held:
    def __del__(self):
        os.write(tell, b"dropped ")
gc.collect()
gc.set_threshold(10**6)
held = Held(); held.itself = held; del held
read_end, write_end = os.pipe()
os.set_blocking(write_end, False)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.set_wakeup_fd(write_end)
before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
threading.Thread(target=threading.Event().wait, daemon=True).start()
with rankformer.open_cells(sys.argv[1]) as cells:
    assert cells.n_cells == 60
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
assert os.path.isdir(folder.name)
"""


def test_the_copy_does_nothing_else_that_its_original_would(sound, tmp_path):
    """It writes out no buffer, ends nothing, drops nothing, and warns of nothing."""
    command = [
        sys.executable,
        "-W",
        "error::DeprecationWarning:__main__",
        "-c",
        QUIET,
        sound,
        tmp_path / "told",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["ended", "once"]
    assert (tmp_path / "told").read_text().split() == ["dropped"]
    assert done.stderr == ""
