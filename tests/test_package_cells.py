"""The makers of files of real cells: archives with checksums, and symbols as Ensembl ids."""

import importlib.util
import re
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from rankformer import Checkpoint

ROOT = Path(__file__).parents[1]


def load(path):
    """A script by its path: two of them are called package_cells."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), ROOT / f"{path}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses ask for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def archives():
    return load("benchmarks/package_archives")


@pytest.fixture(scope="module")
def training():
    return load("training/package_cells")


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A package that pip finds without a network, and what its one table holds."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    path = shelf / "few_cells-1.0-py3-none-any.whl"
    about = "few_cells-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("few_cells/data/counts.csv", "cell,CD3D\na,3\n")
        packed.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: few_cells\nVersion: 1.0")
        packed.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return path


def test_an_archive_is_fetched_once(archives, wheel, tmp_path):
    checksum = sha256(wheel.read_bytes()).hexdigest()
    archive = archives.Archive("few_cells==1.0", "wheel", checksum)
    fetched = archives.fetch(archive, tmp_path)
    assert fetched.read_bytes() == wheel.read_bytes()
    wheel.unlink()
    assert archives.fetch(archive, tmp_path) == fetched
    assert archives.read_member(fetched, "counts.csv").read() == b"cell,CD3D\na,3\n"


def test_an_archive_with_another_checksum_is_an_error(archives, wheel, tmp_path, capfd):
    archive = archives.Archive("few_cells==1.0", "wheel", sha256(b"as it was").hexdigest())
    with pytest.raises(subprocess.CalledProcessError):
        archives.fetch(archive, tmp_path)
    assert "DO NOT MATCH THE HASHES" in capfd.readouterr().err
    assert list(tmp_path.rglob("*.whl")) == [wheel]


NEWER = pd.DataFrame(
    [("CCL5", "ENSG00000271503"), ("TBCE", "ENSG1"), ("TBCE", "ENSG2"), ("RACK1", "ENSG3")],
    columns=["gene_symbol", "ensembl_id"],
)
OLDER = pd.DataFrame(
    [
        ("CCL5", "ENSG00000161570"), ("TBCE", "ENSG1"), ("GNB2L1", "ENSG3"), ("Y_RNA", "ENSG4"),
        ("Y_RNA", "ENSG5"),
    ],
    columns=["gene_symbol", "ensembl_id"],
)  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "ensembl_id"),
    [
        ("RACK1", "ENSG3"),
        ("GNB2L1", "ENSG3"),  # its name before
        ("CCL5", "ENSG00000271503"),  # the newer table goes before
        ("TBCE", ""),  # two ids in the newer table, though one in the older
        ("Y_RNA", ""),
        ("CXCL8", ""),
    ],
)
def test_symbols_are_translated(training, symbol, ensembl_id):
    assert training.translate(pd.Series([symbol]), NEWER, OLDER).tolist() == [ensembl_id]


def test_mitochondrial_genes_have_the_names_of_ensembl(training):
    known = Checkpoint.open("rankformer-mini").vocabulary.symbols
    messengers_and_ribosomal = [name for name in known if re.match("MT-(?!T)", name)]
    assert sorted(training.MITOCHONDRIAL.values()) == sorted(messengers_and_ribosomal)


def test_what_is_no_count_is_an_error(training):
    noisy = np.array([[3 + 1e-11, 0], [1e-11, 2]])
    counts = training.whole_counts(noisy)
    assert counts.dtype == np.float32
    assert counts.data.tolist() == [3, 2]
    for wrong in ([[0.5]], [[-1.0]], [[np.nan]]):
        with pytest.raises(ValueError, match="Not all are counts"):
            training.whole_counts(np.array(wrong))


def test_cells_of_cell_ranger(training, tmp_path):
    counts = sparse.random(3, 5, 0.5, format="csr", rng=0)
    path = tmp_path / "filtered_feature_bc_matrix.h5"
    with h5py.File(path, "w") as file:
        for part in ("data", "indices", "indptr"):
            file[f"matrix/{part}"] = getattr(counts, part)
        file["matrix/shape"] = (5, 3)  # genes, cells
        file["matrix/barcodes"] = [b"A-1", b"C-1", b"G-1"]
        file["matrix/features/id"] = [f"ENSG{i}".encode() for i in range(5)]
        file["matrix/features/name"] = [f"GENE{i}".encode() for i in range(5)]
    cells = training.read_10x(path)
    np.testing.assert_array_equal(cells.X.toarray(), counts.toarray())
    assert cells.obs_names.tolist() == ["A-1", "C-1", "G-1"]
    assert cells.var.loc["ENSG4", "gene_symbol"] == "GENE4"
