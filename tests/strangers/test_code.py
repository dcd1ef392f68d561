"""No code of a stranger runs: each attack is first seen to work where files are believed."""

import json
import os
import pickle
import runpy
import subprocess
import sys
from contextlib import suppress

import anndata as ad
import numcodecs.pickles
import numpy as np
import pytest
import torch
import zarr
from tests.cells.count_files import make_adata
from tests.conftest import save_small_checkpoint, small_vocabulary
from tests.damage import Payload

from rankformer.cells.open_sources import open_source
from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.errors import CheckpointError, CountsError, OutputError, SettingsError
from rankformer.tokens.tokenize import open_tokens
from rankformer.tokens.tokenized_cells import TokenizedCells, save_tokens
from rankformer.training.resume_states import check_resume_states


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "the-code-ran"


@pytest.fixture
def payload(marker):
    return Payload(os.system, f"touch {marker}")


def works(attack, marker):
    """Whether an attack runs its code; what it ends with besides does not matter."""
    with suppress(Exception):
        attack()
    worked = marker.exists()
    marker.unlink(missing_ok=True)
    return worked


# Zarr of version 2 knows a codec whose chunks are pickles.
TEXTS = {"dtype": "|O", "fill_value": ""}
PICKLES = {
    "compressor": {**TEXTS, "compressor": {"id": "pickle"}, "filters": [{"id": "vlen-utf8"}]},
    "filter": {
        **TEXTS, "compressor": None, "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}],
    },
}  # fmt: skip


@pytest.mark.parametrize("place", PICKLES)
def test_a_zarr_store_of_pickles_is_not_read(place, tmp_path, marker, payload, monkeypatch):
    store = tmp_path / "cells.zarr"
    adata = make_adata()
    adata.obs["x"] = np.arange(adata.n_obs, dtype=float)
    adata.write_zarr(store)
    array = store / "obs" / "x"
    described = json.loads((array / ".zarray").read_text())
    (array / ".zarray").write_text(json.dumps({**described, **PICKLES[place]}))
    (array / "0").write_bytes(pickle.dumps(payload))
    # As numcodecs was before 0.16.6, and is where a program asks it to be.
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True)
    assert works(lambda: zarr.open_array(str(array), mode="r")[:], marker)
    with pytest.raises(CountsError, match="stored as pickles"):
        open_source(store)
    assert not marker.exists()


def test_a_weights_file_of_pickles_is_not_believed(tmp_path, marker, payload):
    folder = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    (folder / "model.safetensors").unlink()
    torch.save({"bert.embeddings.word_embeddings.weight": payload}, folder / "pytorch_model.bin")
    file = folder / "pytorch_model.bin"
    assert works(lambda: torch.load(file, weights_only=False), marker)
    with pytest.raises(CheckpointError, match="no code is run"):
        Checkpoint.open(folder).encoder()
    assert not marker.exists()


def test_code_beside_a_model_is_left_alone(tmp_path, marker):
    """`auto_map` names a module of the folder, which transformers runs where it is trusted."""
    folder = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    code = f"open({str(marker)!r}, 'w').close()\nclass Model: pass\n"
    (folder / "modeling_x.py").write_text(code)
    config = json.loads((folder / "config.json").read_text())
    own = {"auto_map": {"AutoModel": "modeling_x.Model"}, "tokenizer_class": "modeling_x.Model"}
    (folder / "config.json").write_text(json.dumps({**config, **own}))
    # PEFT would take the base model from where this says.
    base = {"base_model_name_or_path": str(tmp_path / "elsewhere"), "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps({**base, "auto_mapping": own}))
    assert works(lambda: runpy.run_path(str(folder / "modeling_x.py")), marker)
    assert Checkpoint.open(folder).encoder() is not None
    assert not marker.exists()


def test_arrays_of_objects_are_no_vectors(tmp_path, marker, payload):
    from rankformer.annotate.reference import build_reference
    from rankformer.annotate.reference_files import open_reference, save_reference

    model = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    adata = _labelled(tmp_path)
    folder = save_reference(build_reference(adata, model, ["kind"]), tmp_path / "reference")
    file = folder / "vectors.npy"
    np.save(file, np.array([payload], dtype=object), allow_pickle=True)
    described = json.loads((folder / "reference.json").read_text())
    described["files"]["vectors.npy"] = file.stat().st_size
    (folder / "reference.json").write_text(json.dumps(described))
    assert works(lambda: np.load(file, allow_pickle=True), marker)
    with pytest.raises(SettingsError, match="cannot be read"):
        open_reference(folder)
    assert not marker.exists()


def _labelled(folder):
    from tests.conftest import small_counts

    names = [f"G{i}" for i in range(1, 151)]
    adata = ad.AnnData(small_counts(30, 150, seed=1))
    adata.var_names = names
    adata.obs["kind"] = ["T", "B"] * 15
    adata.write_h5ad(folder / "labelled.h5ad")
    return adata


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_1.pth", "scaler.pt"]
)
@pytest.mark.parametrize("is_old_form", [False, True], ids=["zip", "old form"])
def test_a_state_to_resume_from_is_looked_at_first(tmp_path, name, is_old_form, marker, payload):
    """Whichever transformers is installed: before 4.48 it believed these files."""
    folder = tmp_path / "out.run" / "checkpoint-4"
    folder.mkdir(parents=True)
    states = {"numpy": np.random.get_state(), "cpu": torch.get_rng_state()}  # noqa: NPY002
    torch.save(states, folder / name)
    check_resume_states(folder)
    torch.save(payload, folder / name, _use_new_zipfile_serialization=not is_old_form)
    assert works(lambda: torch.load(folder / name, weights_only=False), marker)
    with pytest.raises(OutputError, match=f"{name} is damaged"):
        check_resume_states(folder)
    assert not marker.exists()


def test_modules_in_a_dataset_are_not_imported(tmp_path, marker, monkeypatch):
    """A command may be run in the folder that was downloaded, and starts a process of its own."""
    model = save_small_checkpoint(tmp_path / "model", small_vocabulary())
    stream = open_tokens(_labelled(tmp_path), model)
    folder = save_tokens((part.cells for part in stream.parts()), tmp_path / "tokens")
    for name in ("pyarrow", "numpy", "tokens", "dataset"):
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.chdir(folder)
    assert works(lambda: subprocess.run([sys.executable, "-c", "import pyarrow"]), marker)
    assert len(TokenizedCells.load(".")) == 30
    assert not marker.exists()
