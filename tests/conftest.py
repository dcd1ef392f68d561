"""A small vocabulary, model and cells that everyone has; the shared data where it is."""

import json
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from rankformer.vocabulary.vocabulary import Vocabulary

# Workers share the cores: threads that wait busily would hinder each other. Read as torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Kernels say where they leave an array, rather than crash; that code is kept in a place of its own.
os.environ.setdefault("NUMBA_BOUNDSCHECK", "1")
KERNELS = Path(__file__).resolve().parents[1] / ".pytest_cache" / "checked-kernels"
os.environ.setdefault("NUMBA_CACHE_DIR", str(KERNELS))
# Without a GPU, Triton's kernels run in its interpreter. Read as Triton loads.
if not any(Path("/dev", each).exists() for each in ("nvidiactl", "dxg", "kfd")):
    os.environ.setdefault("TRITON_INTERPRET", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CELL_FILES = ("pbmc3k", "pbmc_1k_v2", "pbmc_1k_5prime", "ifnb", "sc_mixology")


def pytest_addoption(parser):
    parser.addoption(
        "--auto-dtype", choices=("float32", "bfloat16"),
        help="What dtype='auto' takes in this run, as on a CPU without or with AMX.",
    )  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _auto_dtype(request, tmp_path_factory):
    """Stand for a machine on which "auto" takes the dtype that the run was asked for.

    A module that Python imports at its start does so in the processes that tests begin, too.
    """
    dtype = request.config.getoption("--auto-dtype")
    if dtype is None:
        yield
        return
    folder = tmp_path_factory.mktemp("auto-dtype")
    (folder / "sitecustomize.py").write_text(FORCED_DTYPE.format(is_bfloat16=dtype == "bfloat16"))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    from rankformer.model import precision

    with mock.patch.object(precision, "_bfloat16_is_faster", return_value=dtype == "bfloat16"):
        yield
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


def pytest_ignore_collect(collection_path, config):
    """For `-m gpu`, read no file without such a test: it may want what a GPU's machine lacks."""
    if config.getoption("markexpr") != "gpu" or not collection_path.name.startswith("test_"):
        return None
    return "mark.gpu" not in collection_path.read_text(encoding="utf-8") or None


def pytest_collection_modifyitems(config, items):
    if config.getoption("--auto-dtype") is None:
        return
    for item in items:
        if item.path.name == "test_precision.py":
            item.add_marker(pytest.mark.skip(reason="what 'auto' takes was asked for"))


FORCED_DTYPE = """
import importlib.abc, importlib.machinery, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "rankformer.model.precision":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            module._bfloat16_is_faster = lambda *_: {is_bfloat16}

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory):
    """No test reads or writes the caches of the person who runs it, or uses the network."""
    home = tmp_path_factory.mktemp("home")
    names = ("HOME", "HF_HOME", "HF_HUB_CACHE", "RANKFORMER_MODELS")
    before = {name: os.environ.get(name) for name in names}
    os.environ["HOME"] = str(home)
    os.environ["HF_HOME"] = str(home / "huggingface")
    for name in names[2:]:
        os.environ.pop(name, None)
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="session", autouse=True)
def _without_scib_metrics():
    """It compiles for a minute in each process; the test of it takes it back."""
    from rankformer.evaluate import integration

    def find_other(name):
        return None if name == "scib_metrics" else find_spec(name)

    with mock.patch.object(integration, "find_spec", find_other):
        yield


@pytest.fixture(autouse=True)
def _own_logging():
    """A command of the command line sets up the log; the next test finds it as it was."""
    logger = logging.getLogger("rankformer")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


def shared_path(*parts: str) -> Path:
    """A file of the shared data; skips the test where there is none."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs the shared data: {'/'.join(parts)} is not beside the checkout")
    return path


@pytest.fixture(scope="session")
def v1() -> Vocabulary:
    return Vocabulary.load(shared_path("geneformer", "v1"))


@pytest.fixture(scope="session")
def v2() -> Vocabulary:
    return Vocabulary.load(shared_path("geneformer", "v2"))


def published_config(name: str) -> dict:
    return json.loads(shared_path("configs", f"{name}.json").read_text())


def small_vocabulary(*, special: bool = True, n_genes: int = 200) -> Vocabulary:
    """Genes ENSG00000000001 … with symbols G1 …, an alias each, and medians of two decades."""
    names = ["<pad>", "<mask>", *(["<cls>", "<eos>"] if special else [])]
    genes = [f"ENSG{i:011d}" for i in range(1, n_genes + 1)]
    medians = np.random.default_rng(7).uniform(0.1, 10, n_genes)
    return Vocabulary.from_tables(
        {name: token for token, name in enumerate([*names, *genes])},
        dict(zip(genes, medians.tolist(), strict=True)),
        symbols={f"G{i}": gene for i, gene in enumerate(genes, 1)},
        aliases={f"ALIAS{i}": gene for i, gene in enumerate(genes, 1)},
        input_length=64,
        name="small-v2" if special else "small-v1",
    )


@pytest.fixture(params=[False, True], ids=["v1-like", "v2-like"], scope="session")
def vocabulary(request) -> Vocabulary:
    """A small vocabulary without and with <cls> and <eos>."""
    return small_vocabulary(special=request.param)


def small_counts(n_cells: int, n_vars: int, seed: int = 0, mean: float = 0.5):
    """Poisson counts, CSR float32, without empty cells."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(seed)
    counts = rng.poisson(mean * rng.gamma(1.0, 1.0, n_vars), (n_cells, n_vars))
    counts[np.arange(n_cells), rng.integers(0, n_vars, n_cells)] += 1
    return csr_matrix(counts.astype(np.float32))


@pytest.fixture
def small_adata(vocabulary):
    """30 cells with raw counts in X; variables are symbols, a few of them unknown."""
    import anndata as ad
    import pandas as pd

    symbols = [vocabulary.symbol_of[gene] for gene in vocabulary.ensembl_ids]
    names = [*symbols[:150], *(f"ZZ{i}" for i in range(20))]
    adata = ad.AnnData(small_counts(30, len(names), seed=1), var=pd.DataFrame(index=names))
    adata.obs_names = [f"cell{i}" for i in range(30)]
    adata.obs["cell_type"] = pd.Categorical(np.where(np.arange(30) % 2, "B", "T"))
    return adata


def save_small_checkpoint(folder: Path, vocabulary: Vocabulary, seed: int = 0, **shape) -> Path:
    """A checkpoint of random weights: for tests only."""
    import torch

    from rankformer.checkpoints.save import save_checkpoint
    from rankformer.model.encoder import Encoder, MaskedLanguageModel
    from rankformer.model.spec import EncoderSpec

    torch.manual_seed(seed)
    shape = {"n_layers": 3, "d_model": 32, "n_heads": 2, "d_ff": 64, "max_positions": 64, **shape}
    spec = EncoderSpec(vocab_size=vocabulary.size, **shape)
    return save_checkpoint(folder, MaskedLanguageModel(Encoder(spec)), vocabulary)


@pytest.fixture(scope="session")
def checkpoint_folder(vocabulary, tmp_path_factory) -> Path:
    return save_small_checkpoint(tmp_path_factory.mktemp("models") / "small", vocabulary)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command in this process, which saves the start; returns status, stdout, stderr."""
    from rankformer.cli import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["rankformer", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as exit_:
            status = exit_.code or 0
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def cells(small_adata, tmp_path):
    path = tmp_path / "cells.h5ad"
    small_adata.write_h5ad(path)
    return path
