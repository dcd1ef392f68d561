"""`rankformer perturb` stopped and gone on with, and shared out."""

import json
import shutil

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import save_small_checkpoint, small_counts, small_vocabulary
from tests.killed import killed_at

from rankformer.perturb.files import perturb_files
from rankformer.perturb.settings import Perturbation, PerturbJob, ScreenSettings, States
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import about_shard, write_shard

STATES = ("--state", "stage", "--start", "young", "--goal", "old")
SCREEN = ("--method", "screen", "--exact-runs", "2", *STATES)
BEST = (*SCREEN, "--top", "3", "--exact-cells", "5")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A model, and 10 and 14 cells of two stages in two files."""
    folder, vocabulary = tmp_path_factory.mktemp("desk"), small_vocabulary(special=True)
    save_small_checkpoint(folder / "model", vocabulary)
    symbols = [vocabulary.symbol_of[gene] for gene in vocabulary.ensembl_ids]
    for name, n_cells in (("a", 10), ("b", 14)):
        adata = ad.AnnData(
            small_counts(n_cells, 40, seed=n_cells), var=pd.DataFrame(index=symbols[:40])
        )
        adata.obs_names = [f"{name}{i}" for i in range(n_cells)]
        adata.obs["stage"] = ["young", "young", "old"] * (n_cells // 3) + ["young"] * (n_cells % 3)
        adata.write_h5ad(folder / f"{name}.h5ad")
    return folder


@pytest.fixture
def words(desk, tmp_path):
    """A perturbation in shards of three cells, to an output of some name."""

    def of(output, *more):
        return (
            "perturb", desk / "a.h5ad", desk / "b.h5ad", "-o", tmp_path / output, "-m",
            desk / "model", "--device", "cpu", "--dtype", "float32", "--shard-cells", "3", *more,
        )  # fmt: skip

    return of


@pytest.fixture
def succeed(command):
    def run(*words):
        status, _, said = command(*words)
        assert status == 0, said
        return said

    return run


def expect_same(file, whole):
    """The same rows in the same order, and the same that is said of them."""
    pd.testing.assert_frame_equal(pd.read_parquet(file), pd.read_parquet(whole), atol=1e-7)
    first, second = (pq.read_metadata(each).metadata for each in (file, whole))
    assert first[b"rankformer"] == second[b"rankformer"]
    assert (b"trust" in first) == (b"trust" in second)
    if b"trust" in first:
        trusts = [json.loads(each[b"trust"]) for each in (first, second)]
        assert trusts[0] == pytest.approx(trusts[1])


def times(folder):
    return {each: each.stat().st_mtime_ns for each in folder.rglob("*.parquet")}


def test_killed_again_and_again_it_ends_with_the_same_table(words, succeed, tmp_path):
    """In the first shard, in the screen, and as the best genes are run: nothing is done twice."""
    succeed(*words("whole.parquet", *BEST))
    parts, done = tmp_path / "out.parquet.parts", {}
    # Tables are added for the states, and of each shard of the screen two and of its first three.
    for n_tables in (3, 8, 11):
        killed_at(n_tables, *words("out.parquet", *BEST))
        assert not (tmp_path / "out.parquet").exists()
        now = times(parts)
        assert done.items() <= now.items()
        assert len(now) > len(done)
        done = now
    assert parts / "prepared" / "states.parquet" in done
    assert parts / "prepared" / "best_genes.parquet" in done
    assert any(each.name.startswith("1-") for each in done)
    said = succeed(*words("out.parquet", *BEST))
    assert "shards were done before" in said
    assert set(pd.read_parquet(tmp_path / "out.parquet")["method"]) == {"screen", "exact"}
    expect_same(tmp_path / "out.parquet", tmp_path / "whole.parquet")
    assert not parts.exists()


def test_affected_genes_are_kept_too(words, succeed, tmp_path):
    more = ("--read-out", "gene", "--genes", "G3,G4", "--affected", "4")
    succeed(*words("whole.parquet", *more))
    succeed(*words("folder", *more))
    for place in ("0-000000-0000000003", "0-000001-0000000000"):
        (lost,) = (tmp_path / "folder" / "shards").glob(f"{place}-*[0-9].parquet")
        lost.unlink()
    assert "shards were done before" in succeed(*words("folder", *more))
    succeed("merge", tmp_path / "folder", "-o", tmp_path / "merged.parquet")
    for name in ("{}.parquet", "{}.affected.parquet"):
        expect_same(tmp_path / name.format("merged"), tmp_path / name.format("whole"))


WORKERS = {"processes": {"device": ["cpu", "cpu"]}, "ray": {"device": "auto"}}


def perturb_elsewhere(desk, output, engine, **more):
    """All genes screened, and the best ones run exactly, by workers in other processes."""
    job = PerturbJob(sources=(desk / "a.h5ad", desk / "b.h5ad"), output=output, **more)
    return perturb_files(job, desk / "model", dtype="float32", **WORKERS[engine])


@pytest.mark.parametrize("engine", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_worker_processes_write_the_table_of_one(words, succeed, desk, tmp_path, engine):
    """States, a screen, of whose first shard all others know, and the best genes run exactly."""
    succeed(*words("whole.parquet", *BEST))
    on_ray = {}
    if engine == "ray":
        pytest.importorskip("ray", reason="needs Ray")
        on_ray = {"engine": "ray", "workers": 1}
    perturb_elsewhere(
        desk, tmp_path / "out.parquet", engine, run=RunSettings(shard_cells=3, **on_ray),
        perturbation=Perturbation(
            method="screen", states=States("stage", "young", "old"), top=3, exact_cells=5,
            screen=ScreenSettings(n_exact=2),
        ),
    )  # fmt: skip
    expect_same(tmp_path / "out.parquet", tmp_path / "whole.parquet")


def test_affected_genes_come_from_worker_processes_too(words, succeed, desk, tmp_path):
    succeed(*words("whole.parquet", "--read-out", "gene", "--genes", "G3,G4", "--affected", "4"))
    perturb_elsewhere(
        desk, tmp_path / "out.parquet", "processes", run=RunSettings(shard_cells=3),
        perturbation=Perturbation(read_out="gene", genes=("G3", "G4")), n_affected=4,
    )  # fmt: skip
    for name in ("{}.parquet", "{}.affected.parquet"):
        expect_same(tmp_path / name.format("out"), tmp_path / name.format("whole"))


@pytest.mark.parametrize("more", [SCREEN, ("--n-cells", "11", "--attribute", "stage")])
def test_shares_are_merged_to_the_whole(words, succeed, desk, tmp_path, more):
    succeed(*words("whole.parquet", *more))
    for share in ("2/3", "1/3", "3/3"):
        said = succeed(*words("shares", *more, "--shard", share))
    assert "merge" in said
    # What merges them needs no model.
    shutil.move(desk / "model", desk / "away")
    try:
        succeed("merge", tmp_path / "shares", "-o", tmp_path / "merged.parquet")
    finally:
        shutil.move(desk / "away", desk / "model")
    expect_same(tmp_path / "merged.parquet", tmp_path / "whole.parquet")


def test_shares_run_the_best_genes_when_the_screen_is_whole(words, succeed, command, tmp_path):
    succeed(*words("whole.parquet", *BEST))
    said = succeed(*words("shares", *BEST, "--shard", "1/2"))
    assert "give the command again" in said
    merge = ("merge", tmp_path / "shares", "-o", tmp_path / "merged.parquet")
    succeed(*words("shares", *BEST, "--shard", "2/2"))
    status, _, said = command(*merge)
    assert status == 2
    assert "in step 2" in said
    succeed(*words("shares", *BEST, "--shard", "1/2"))
    succeed(*merge)
    expect_same(tmp_path / "merged.parquet", tmp_path / "whole.parquet")


def test_states_are_embedded_once(words, succeed, tmp_path):
    """Another share reads them: here the two have changed places before."""
    more = (*STATES, "--genes", "G3,G4")
    succeed(*words("whole.parquet", *more))
    states = tmp_path / "shares" / "prepared" / "states.parquet"
    succeed(*words("shares", *more, "--shard", "1/2"))
    vectors = pq.read_table(states)["vector"].to_pylist()
    with write_shard(states, about_shard(states)) as out:
        out.add(pa.table({"vector": vectors[::-1]}))
    succeed(*words("shares", *more, "--shard", "2/2"))
    succeed("merge", tmp_path / "shares", "-o", tmp_path / "merged.parquet")
    found, whole = (pd.read_parquet(tmp_path / f"{each}.parquet") for each in ("merged", "whole"))
    names = ["shift_to_old", "shift_to_young"]
    np.testing.assert_allclose(found[names].iloc[0], whole[names].iloc[0], atol=1e-7)
    np.testing.assert_allclose(found[names].iloc[-1], whole[names[::-1]].iloc[-1], atol=1e-7)


def test_trust_is_of_the_exact_runs_of_all_shards(words, succeed, tmp_path):
    """Two a cell behind the first shard, in which they are more."""
    succeed(*words("folder", *SCREEN))
    files = sorted((tmp_path / "folder" / "shards").glob("*.trust.parquet"))
    n_runs = [pq.read_metadata(file).num_rows for file in files]
    assert n_runs[0] > 6
    assert n_runs[1:] == [6, 2, 6, 6, 6, 2]
    said = succeed("merge", tmp_path / "folder", "-o", tmp_path / "merged.parquet")
    assert f"with {sum(n_runs)} exact runs" in " ".join(said.split())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--genes", "G3,G5"), 'genes (--genes) is ["G3", "G5"] now, and was ["G3", "G4"]'),
        (("--seed", "4"), "seed (--seed) is 4 now, and was 0"),
        (("--type", "inhibit"), 'kind (--type) is "inhibit" now, and was "delete"'),
        (("--shard-cells", "4"), "shard_cells (--shard-cells) is 4 now, and was 3"),
    ],
)
def test_other_options_are_refused(words, command, succeed, tmp_path, change, told):
    succeed(*words("folder", "--genes", "G3,G4", "--shard", "1/2"))
    before = times(tmp_path)
    status, _, said = command(*words("folder", "--genes", "G3,G4", "--shard", "2/2", *change))
    assert status == 2
    assert told in " ".join(said.split())
    assert times(tmp_path) == before
    succeed(*words("folder", "--genes", "G3,G4", *change, "--restart"))


def test_nothing_is_left_where_no_cell_could_be_edited(words, command, tmp_path):
    for output in ("out.parquet", "folder"):
        status, _, said = command(*words(output, *STATES, "--genes", "G190"))
        assert status == 2
        assert "None of the 17 cells" in " ".join(said.split())
        assert not list(tmp_path.iterdir())


def test_an_input_that_cannot_be_opened_ends_it(words, command, tmp_path):
    """Cells are drawn from all inputs."""
    (tmp_path / "bad.h5ad").write_bytes(b"no such thing")
    before = set(tmp_path.iterdir())
    name, *others = words("out.parquet")
    status, _, said = command(name, tmp_path / "bad.h5ad", *others)
    assert status == 2
    assert "bad.h5ad" in said
    assert set(tmp_path.iterdir()) == before


def damage_counts_of(cell, file):
    """So that they cannot be decompressed; those of cells nearby lie in other chunks."""
    with h5py.File(file, "r+") as opened:
        values = opened["X/data"][:]
        del opened["X/data"]
        opened["X"].create_dataset("data", data=values, chunks=(50,), compression="gzip")
        place = int(opened["X/indptr"][cell])
    with h5py.File(file) as opened:
        chunk = opened["X/data"].id.get_chunk_info(place // 50)
    with file.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(bytes(chunk.size))


def test_an_input_that_fails_later_is_set_aside(words, command, succeed, desk, tmp_path):
    """Those of its cells that were done stay, and the other inputs are done."""
    bad = tmp_path / "bad.h5ad"
    vocabulary = small_vocabulary(special=True)
    symbols = [vocabulary.symbol_of[gene] for gene in vocabulary.ensembl_ids]
    adata = ad.AnnData(small_counts(600, 40, seed=5), var=pd.DataFrame(index=symbols[:40]))
    adata.obs_names = [f"bad{i}" for i in range(600)]
    adata.write_h5ad(bad)
    # A cell that is not among those that are looked at as the file is opened.
    damage_counts_of(540, bad)
    more = ("--genes", "G3", "--shard-cells", "100")
    name, *others = words("out.parquet", *more)
    status, _, said = command(name, bad, *others)
    assert status == 3, said
    assert "bad.h5ad" in said
    assert not (tmp_path / "out.parquet").exists()
    merged = tmp_path / "merged.parquet"
    status, *_ = command("merge", tmp_path / "out.parquet.parts", "-o", merged)
    assert status == 2
    status, _, said = command("merge", tmp_path / "out.parquet.parts", "-o", merged, "--partial")
    assert status == 3, said
    succeed(*words("whole.parquet", *more))
    found, whole = pd.read_parquet(merged), pd.read_parquet(tmp_path / "whole.parquet")
    is_bad = found["source"] == str(bad)
    pd.testing.assert_frame_equal(found[~is_bad].reset_index(drop=True), whole, atol=1e-7)
    assert set(found["cell"][is_bad]) <= {f"bad{i}" for i in range(500)}
    assert is_bad.any()
