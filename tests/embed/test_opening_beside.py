"""A model is made ready while the inputs are opened, and the errors of both come in their order."""

import threading

import pytest

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed import vector_runs
from rankformer.embed.files import embed_files
from rankformer.embed.settings import EmbedJob
from rankformer.embed.vector_recipes import open_model
from rankformer.embed.vector_runs import VectorWork
from rankformer.errors import CheckpointError, CountsError, SettingsError
from rankformer.runs.settings import RunSettings


@pytest.fixture
def work(checkpoint_folder, tmp_path):
    def make(**embedding):
        return VectorWork(
            task="embed", sources=[tmp_path / "cells.h5ad"],
            checkpoint=Checkpoint.open(checkpoint_folder), mode="cell", embedding=embedding,
        )  # fmt: skip

    return make


def open_with_mark(monkeypatch, mark):
    def marked(*arguments):
        model = open_model(*arguments)
        mark.set()
        return model

    monkeypatch.setattr(vector_runs, "open_model", marked)


def test_it_is_ready_before_the_inputs_are_where_they_take_longer(work, monkeypatch):
    is_open = threading.Event()
    open_with_mark(monkeypatch, is_open)
    made = work(device="cpu", dtype="float32")
    with made.opening_model(None, RunSettings()) as opened:
        assert is_open.wait(60), "it was not begun beside the inputs"
        assert opened().precision == "float32"


@pytest.mark.parametrize(
    ("embedding", "settings"),
    [
        ({"device": "cpu"}, RunSettings()),
        ({"device": ["cpu", "cpu"], "dtype": "float32"}, RunSettings()),
        ({"device": "cpu", "dtype": "float32"}, RunSettings(engine="ray")),
    ],
    ids=["timed on the CPU", "in other processes", "on Ray"],
)
def test_it_is_opened_after_the_inputs_where_these_would_disturb_it(
    work, monkeypatch, embedding, settings
):
    is_open = threading.Event()
    open_with_mark(monkeypatch, is_open)
    with work(**embedding).opening_model(None, settings):
        assert not is_open.wait(0.2)


@pytest.fixture
def damaged(tmp_path, checkpoint_folder):
    """A file that is none, and a model whose weights are cut off."""
    (tmp_path / "cells.h5ad").write_bytes(b"no cells")
    model = tmp_path / "model"
    model.mkdir()
    for each in checkpoint_folder.iterdir():
        content = each.read_bytes()
        (model / each.name).write_bytes(content[:1000] if "safetensors" in each.name else content)
    return tmp_path


def embed(folder, cells, model, **settings):
    job = EmbedJob((folder / cells,), output=folder / "out.npy")
    embed_files(job, model, dtype="float32", **settings)


def test_of_two_errors_that_of_the_input_is_told(damaged):
    with pytest.raises(CountsError, match=r"cells\.h5ad"):
        embed(damaged, "cells.h5ad", damaged / "model")


def test_an_error_of_the_model_alone_is_told(damaged, small_adata):
    small_adata.write_h5ad(damaged / "sound.h5ad")
    with pytest.raises(CheckpointError):
        embed(damaged, "sound.h5ad", damaged / "model")
    assert not list(damaged.glob("out*"))


def test_a_device_that_there_is_not_is_told_after_the_inputs(damaged, checkpoint_folder):
    with pytest.raises(CountsError):
        embed(damaged, "cells.h5ad", checkpoint_folder, device="nothing")


def test_a_device_that_there_is_not_is_told(damaged, checkpoint_folder, small_adata):
    small_adata.write_h5ad(damaged / "sound.h5ad")
    with pytest.raises(SettingsError, match="nothing"):
        embed(damaged, "sound.h5ad", checkpoint_folder, device="nothing")
