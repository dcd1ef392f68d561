"""No folder or file of a stranger has other files of the machine read or written."""

import json
import os
import shutil
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
from tests.cells.count_files import make_adata, write_tenx_folder, write_tenx_h5
from tests.conftest import save_small_checkpoint, small_counts, small_vocabulary

from rankformer.annotate.reference import build_reference
from rankformer.annotate.reference_files import open_reference, save_reference
from rankformer.cells.file_kinds import find_files
from rankformer.cells.obsm import read_obsm
from rankformer.cells.open_sources import open_source
from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.errors import (
    CheckpointError,
    CountsError,
    OutputError,
    RankformerError,
    SettingsError,
    TokensError,
    VocabularyError,
)
from rankformer.own_files import TRUST_VARIABLE
from rankformer.tokens.tokenize import open_tokens
from rankformer.tokens.tokenized_cells import TokenizedCells, save_tokens
from rankformer.training.resume_states import check_resume_states
from rankformer.training.run_folder import TrainingRun, bind_checkpoint
from rankformer.vocabulary.vocabulary import Vocabulary

ARCHIVES = Path(__file__).resolve().parents[1] / "archives" / "0.1.0"


@pytest.fixture
def secret(tmp_path):
    """Cells of the user, which nobody else is to see."""
    adata = make_adata()
    adata.obs["patient"] = [f"secret-{i}" for i in range(adata.n_obs)]
    adata.obsm["X_own"] = np.full((adata.n_obs, 3), 7, np.float32)
    (tmp_path / "home").mkdir()
    adata.write_h5ad(tmp_path / "home" / "secret.h5ad")
    adata.write_zarr(tmp_path / "home" / "secret.zarr")
    return tmp_path / "home"


# HDF5.


def _linked_matrix(file, secret):
    del file["X"]
    file["X"] = h5py.ExternalLink(secret / "secret.h5ad", "X")


def _linked_column(file, secret):
    file["obs/batch"].parent.create_group("deep")
    file["obs/deep/patient"] = h5py.ExternalLink(secret / "secret.h5ad", "obs/patient")


def _raw_storage(file, secret):
    size = (secret / "secret.h5ad").stat().st_size
    shape, storage = (1, size), [(str(secret / "secret.h5ad"), 0, size)]
    file["layers"].create_dataset("counts", shape, "u1", external=storage)


def _virtual(file, secret):
    layout = h5py.VirtualLayout(shape=(60, 3), dtype="f4")
    layout[:] = h5py.VirtualSource(secret / "secret.h5ad", "obsm/X_own", shape=(60, 3))
    file.create_virtual_dataset("obsm/X_pca", layout)


HDF5 = {
    "a matrix by a link": (_linked_matrix, "X", lambda file: file["X/data"][:].sum() > 0),
    "a column by a link": (
        _linked_column, "obs/deep/patient", lambda file: b"secret-1" in file["obs/deep/patient"][:],
    ),
    "raw bytes": (
        _raw_storage, "layers/counts",
        lambda file: bytes(file["layers/counts"][0, 1:4]) == b"HDF",
    ),
    "a virtual dataset": (
        _virtual, "obsm/X_pca", lambda file: (file["obsm/X_pca"][:] == 7).all(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", HDF5)
def test_hdf5_takes_nothing_from_other_files(attack, tmp_path, secret):
    prepare, place, is_read = HDF5[attack]
    file = tmp_path / "stranger.h5ad"
    make_adata().write_h5ad(file)
    with h5py.File(file, "r+") as opened:
        prepare(opened, secret)
    with h5py.File(file) as opened:
        assert is_read(opened), "HDF5 itself would have given it"
    for read in (
        open_source,
        lambda path: find_files([path]),
        lambda path: read_obsm(path, ["X_own"], 60),
    ):
        with pytest.raises(CountsError, match=f"takes '/{place}' from another file"):
            read(file)


def test_cell_rangers_hdf5_takes_nothing_from_other_files(tmp_path, secret):
    file = write_tenx_h5(tmp_path / "stranger.h5", make_adata())
    with h5py.File(file, "r+") as opened:
        del opened["matrix/barcodes"]
        opened["matrix/barcodes"] = h5py.ExternalLink(secret / "secret.h5ad", "obs/patient")
    with pytest.raises(CountsError, match="takes '/matrix/barcodes' from another file"):
        open_source(file)


def test_nothing_is_written_into_another_file(tmp_path, secret, command):
    """A copy of an input is added to: a group that is a link would be of the user's own file."""
    model = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    file = tmp_path / "stranger.h5ad"
    _cells().write_h5ad(file)
    with h5py.File(file, "r+") as opened:
        del opened["obsm"]
        opened["obsm"] = h5py.ExternalLink(secret / "secret.h5ad", "obsm")
    before = (secret / "secret.h5ad").read_bytes()
    status, _, said = command(
        "embed", file, "-o", tmp_path / "out.h5ad", "-m", model, "--device", "cpu"
    )
    assert (status, "takes '/obsm' from another file" in said) == (2, True)
    assert (secret / "secret.h5ad").read_bytes() == before
    assert not (tmp_path / "out.h5ad").exists()


def test_links_within_a_file_are_followed(tmp_path):
    file = tmp_path / "cells.h5ad"
    make_adata().write_h5ad(file)
    with h5py.File(file, "r+") as opened:
        opened["layers/soft"] = h5py.SoftLink("/X")
        opened["layers/hard"] = opened["X"]
        opened["layers/nowhere"] = h5py.SoftLink("/gone")
        opened["uns/loop"] = opened["/"]
    assert 'layers["soft"]' in open_source(file).places


# Links in folders.


def _cells():
    adata = ad.AnnData(small_counts(30, 150, seed=1))
    adata.var_names = [f"G{i}" for i in range(1, 151)]
    adata.obs["kind"] = ["T", "B"] * 15
    return adata


def _zarr(folder):
    make_adata().write_zarr(folder)
    return open_source, "X/data/0", CountsError


def _tenx(folder):
    write_tenx_folder(folder, make_adata(), version=2)
    return open_source, "barcodes.tsv", CountsError


def _model(folder):
    save_small_checkpoint(folder, small_vocabulary())
    return Checkpoint.open, "config.json", CheckpointError


def _vocabulary(folder):
    folder.mkdir()
    small_vocabulary().save(folder / "vocabulary.parquet")
    return Vocabulary.load, "vocabulary.parquet", VocabularyError


def _finetuned(folder):
    shutil.copytree(ARCHIVES / "finetuned", folder)
    return FineTunedModel.open, "heads.json", CheckpointError


def _reference(folder):
    model = save_small_checkpoint(folder.with_name("model"), small_vocabulary())
    save_reference(build_reference(_cells(), model, ["kind"]), folder)
    return open_reference, "labels.parquet", SettingsError


def _dataset(folder):
    model = save_small_checkpoint(folder.with_name("model"), small_vocabulary())
    stream = open_tokens(_cells(), model)
    save_tokens((part.cells for part in stream.parts()), folder)
    return TokenizedCells.load, "data-00000-of-00001.arrow", TokensError


def _run(folder):
    checkpoint = folder / "checkpoint-4"
    checkpoint.mkdir(parents=True)
    (checkpoint / "optimizer.pt").write_bytes(b"numbers")
    bind_checkpoint(checkpoint)
    output = folder.with_name(folder.name.removesuffix(".run"))
    return lambda _: TrainingRun(output).last_checkpoint(), "checkpoint-4/optimizer.pt", OutputError


FOLDERS = {
    "stranger.zarr": _zarr, "10x": _tenx, "model": _model, "vocabulary": _vocabulary,
    "finetuned": _finetuned, "reference": _reference, "dataset": _dataset, "out.run": _run,
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_out_of_a_folder_is_not_followed(name, tmp_path, monkeypatch):
    place = tmp_path / "downloads" / name
    place.parent.mkdir()
    read, file, error = FOLDERS[name](place)
    read(place)
    # The same bytes elsewhere: nothing is wrong with them, but where they lie.
    elsewhere = tmp_path / "private"
    shutil.move(place / file, elsewhere)
    (place / file).symlink_to(elsewhere)
    with pytest.raises(error, match="is a link that leads out of the folder") as refused:
        read(place)
    assert all(text in str(refused.value) for text in (file, str(elsewhere), TRUST_VARIABLE))
    # Followed, it would have been read: and is, where the user says so.
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    read(place)


@pytest.mark.parametrize("name", FOLDERS)
def test_links_of_the_users_own_are_followed(name, tmp_path):
    """To the folder itself, and within it."""
    place = tmp_path / "downloads" / name
    place.parent.mkdir()
    read, file, _ = FOLDERS[name](place)
    if name != "out.run":
        link = tmp_path / name.replace(".", "-linked.")
        link.symlink_to(place)
        read(link)
    (place / file).rename(place / "moved")
    (place / file).symlink_to(os.path.relpath(place / "moved", (place / file).parent))
    read(place)


def test_a_snapshot_of_the_hub_is_links_to_its_blobs(tmp_path):
    """As huggingface_hub lays its cache out; a blob that is a link itself is not followed."""
    model = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    repository = tmp_path / "hub" / "models--someone--Geneformer"
    snapshot, blobs = repository / "snapshots" / "abc" / "small", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in model.iterdir():
        shutil.copyfile(file, blobs / f"blob-{file.name}")
        target = os.path.relpath(blobs / f"blob-{file.name}", snapshot)
        (snapshot / file.name).symlink_to(target)
    assert Checkpoint.open(snapshot).encoder() is not None
    blob = blobs / "blob-config.json"
    shutil.move(blob, tmp_path / "private.json")
    blob.symlink_to(tmp_path / "private.json")
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        Checkpoint.open(snapshot)


def test_a_file_that_is_named_may_be_a_link(tmp_path, caplog):
    """As workflows lay out the inputs of a step; of those in a folder it is said."""
    make_adata().write_h5ad(tmp_path / "store.h5ad")
    (tmp_path / "inputs").mkdir()
    link = tmp_path / "inputs" / "a.h5ad"
    link.symlink_to(tmp_path / "store.h5ad")
    assert len(open_source(link).obs) == 60
    with caplog.at_level("INFO", "rankformer"):
        assert find_files(tmp_path / "inputs") == [link]
    assert f"{link} is a link to {tmp_path / 'store.h5ad'}" in caplog.text


def test_a_linked_column_of_a_zarr_store_is_not_read(tmp_path, secret, monkeypatch):
    """A link to a folder, by which a column of the user's own would come along into the result."""
    store = tmp_path / "stranger.zarr"
    make_adata().write_zarr(store)
    shutil.rmtree(store / "obs" / "batch")
    (store / "obs" / "batch").symlink_to(secret / "secret.zarr" / "obs" / "patient")
    with pytest.raises(CountsError, match="obs/batch is a link that leads out"):
        open_source(store)
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    assert open_source(store).obs["batch"].iloc[1] == "secret-1"


def test_names_in_a_zarr_store_stay_in_it(tmp_path, secret):
    store = tmp_path / "stranger.zarr"
    make_adata().write_zarr(store)
    attributes = json.loads((store / "obs" / ".zattrs").read_text())
    away = os.path.relpath(secret / "secret.zarr" / "obs" / "patient", store / "obs")
    assert (store / "obs" / away).is_dir()
    attributes["column-order"] = [away]
    (store / "obs" / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(CountsError, match=r"'\.\.' segments"):
        open_source(store)


# Names that files within a folder hold.


def test_a_dataset_names_files_of_its_own(tmp_path):
    place = tmp_path / "downloads" / "dataset"
    place.parent.mkdir()
    read, file, _ = _dataset(place)
    shutil.move(place / file, tmp_path / "private.arrow")
    state = json.loads((place / "state.json").read_text())
    for name in ("../../private.arrow", str(tmp_path / "private.arrow")):
        assert (place / name).is_file()
        state["_data_files"] = [{"filename": name}]
        (place / "state.json").write_text(json.dumps(state))
        with pytest.raises(TokensError, match="not in the folder"):
            read(place)


def test_a_reference_names_files_of_its_own(tmp_path):
    place = tmp_path / "downloads" / "reference"
    place.parent.mkdir()
    read, _, _ = _reference(place)
    (tmp_path / "private").write_bytes(b"1234")
    described = json.loads((place / "reference.json").read_text())
    described["files"]["../../private"] = 4
    (place / "reference.json").write_text(json.dumps(described))
    with pytest.raises(SettingsError, match=r"'\.\./\.\./private' is named"):
        read(place)


@pytest.mark.parametrize(
    "own",
    [{"best_model_checkpoint": "PLACE"}, {"best_model_checkpoint": None, "best_global_step": "x"}],
    ids=["another folder", "no step"],
)
def test_a_run_ends_with_weights_of_its_own(tmp_path, own):
    """transformers loads the best checkpoint from where the state says it lies."""
    private = tmp_path / "private"
    private.mkdir()
    folder = tmp_path / "out.run" / "checkpoint-4"
    folder.mkdir(parents=True)
    state = {"best_model_checkpoint": str(folder), "best_global_step": 4}
    file = folder / "trainer_state.json"
    file.write_text(json.dumps(state))
    check_resume_states(folder)
    text = json.dumps({**state, **own}).replace("PLACE", str(private))
    file.write_text(text)
    with pytest.raises(RankformerError, match=r"as the best checkpoint|is damaged"):
        check_resume_states(folder)


def test_a_table_of_genes_is_no_address(tmp_path):
    """pandas would fetch it: only `rankformer models fetch` uses the network."""
    from rankformer.training.labels import read_gene_labels

    (tmp_path / "genes.csv").write_text("gene,kind\n")
    with pytest.raises(SettingsError, match="No such file"):
        read_gene_labels((tmp_path / "genes.csv").as_uri(), small_vocabulary(), gene="gene",
                         label="kind")  # fmt: skip
