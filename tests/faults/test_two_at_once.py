"""Two runs with one output, at work at the same time: one of them whole, never a mixture."""

import json
import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
from tests.conftest import save_small_checkpoint, small_vocabulary
from tests.faults.cells import adata_of, counts

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.errors import OutputError
from rankformer.scratch import whole_or_nothing

MODELS = ("first", "second")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Cells for some seconds of work, and two models that give different vectors."""
    folder = tmp_path_factory.mktemp("desk")
    for seed, name in enumerate(MODELS):
        save_small_checkpoint(folder / name, small_vocabulary(), seed=seed)
    adata_of(counts(4_000, mean=0.05)).write_h5ad(folder / "cells.h5ad")
    return folder


def run_both(desk, output, *options):
    """Start a run of each model at once; returns their exit statuses and what they said."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "rankformer", "embed", "cells.h5ad", "-o", output, "-m", model,
             "--dtype", "float32", "--threads", "1", *options],
            cwd=desk, stderr=subprocess.PIPE, text=True,
        )
        for model in MODELS
    ]  # fmt: skip
    said = [run.communicate()[1] for run in runs]
    return [run.returncode for run in runs], said


@pytest.fixture(scope="module")
def alone(desk):
    """Vectors of each model, from a run that was alone, by the hash of its weights."""
    vectors = {}
    for model in MODELS:
        command = [sys.executable, "-m", "rankformer", "embed", "cells.h5ad", "-o", f"{model}.npy",
                   "-m", model, "--dtype", "float32", "--threads", "1"]  # fmt: skip
        subprocess.run(command, cwd=desk, check=True, capture_output=True)
        vectors[Checkpoint.open(desk / model).weights_sha256] = np.load(desk / f"{model}.npy")
    return vectors


def read(path):
    if path.suffix == ".npy":
        provenance = json.loads(path.with_name(f"{path.name}.json").read_text())
        return np.load(path), provenance["weights_sha256"]
    adata = ad.read_zarr(path)
    return adata.obsm["X_geneformer"], adata.uns["rankformer"]["X_geneformer"]["weights_sha256"]


# As the other is at work, has left its shards, or has ended.
REFUSALS = (
    "is at work on", "holds the parts of another run", "exists already", "has ended and removed it",
)  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--overwrite",)], ids=["new", "overwrite"])
@pytest.mark.parametrize("output", ["race.npy", pytest.param("race.zarr", marks=pytest.mark.slow)])
def test_one_of_two_is_done_and_the_other_refused(desk, alone, output, options):
    output = f"{'-'.join(options)}{output}"
    statuses, said = run_both(desk, output, *options)
    vectors, sha256 = read(desk / output)
    np.testing.assert_array_equal(vectors, alone[sha256])
    # The slower may begin when the faster has ended: it then replaces its output, if it may.
    assert sorted(statuses) in ([0, 2], [0, 0]), said
    if 2 in statuses:
        assert any(each in said[statuses.index(2)] for each in REFUSALS), said
    else:
        assert options
    assert not list(desk.glob(f"{output}.*part*"))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_appears_meanwhile_is_left_as_it_is(tmp_path, kind):
    def write(path, text):
        if kind == "folder":
            path.mkdir()
            path /= "inside"
        path.write_text(text)

    def run():
        with whole_or_nothing(tmp_path / "out", overwrite=False) as part:
            write(part, "mine")
            write(tmp_path / "out", "theirs")

    with pytest.raises(OutputError, match="has appeared"):
        run()
    theirs = tmp_path / "out" / "inside" if kind == "folder" else tmp_path / "out"
    assert theirs.read_text() == "theirs"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("before", ["file", "folder"])
@pytest.mark.parametrize("now", ["file", "folder"])
def test_either_kind_replaces_either(tmp_path, before, now):
    def write(path, kind):
        if kind == "folder":
            path.mkdir()
            (path / "inside").write_text("")
        else:
            path.write_text("")

    write(tmp_path / "out", before)
    with whole_or_nothing(tmp_path / "out", overwrite=True) as part:
        write(part, now)
    assert (tmp_path / "out").is_dir() == (now == "folder")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_results_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "usual").write_text("")
    with whole_or_nothing(tmp_path / "out", overwrite=False) as part:
        part.write_text("")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode
