"""What is published: a source distribution, and the wheel that is built of it."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from packaging.version import Version

import rankformer
from tests.conftest import small_counts

ROOT = Path(__file__).resolve().parents[1]
BUILD = [sys.executable, "-m", "hatchling", "build"]


def run(*command, **more) -> str:
    """Run a process that sees no checkout, only what is installed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, **more
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(*BUILD, "--target", "sdist", "--directory", folder, cwd=ROOT)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """Built of the source distribution, as pip does where it takes no wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        # Older versions of Python know no filter.
        has_filters = hasattr(tarfile, "data_filter")
        archive.extractall(folder, **({"filter": "data"} if has_filters else {}))  # noqa: S202  # our own
    run(*BUILD, "--target", "wheel", "--directory", folder, cwd=next(folder.iterdir()))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The programs of an environment with the wheel, and what it needs from that of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    names = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=names))
    run(
        sys.executable, "-m", "pip", "--python", folder, "install", "--no-deps", "--no-index", wheel
    )
    # Read after the environment's own packages, and without what it names in turn: the checkout.
    (packages / "of_the_tests.pth").write_text(sysconfig.get_path("purelib"))
    return Path(sysconfig.get_path("scripts", "venv", vars=names))


def test_the_wheel_holds_the_model_and_no_tests(wheel):
    held = zipfile.ZipFile(wheel).namelist()
    source = ROOT / "src"
    tracked = run("git", "ls-files", "src", cwd=ROOT).split() if (ROOT / ".git").exists() else []
    assert {str(Path(each).relative_to("src")) for each in tracked} <= set(held)
    model = source / "rankformer" / "packaged_models" / "rankformer-mini"
    assert {str(each.relative_to(source)) for each in model.iterdir()} <= set(held)
    assert "rankformer/py.typed" in held
    assert [each for each in held if each.endswith("/licenses/LICENSE")]
    folders = {each.split("/")[0] for each in held}
    assert folders == {"rankformer", next(each for each in folders if each.endswith(".dist-info"))}
    assert not [each for each in held if "__pycache__" in each or "/tests/" in each]


def test_the_wheel_has_the_version_of_its_source(wheel, sdist, installed):
    version = sdist.name.removeprefix("rankformer-").removesuffix(".tar.gz")
    assert wheel.name.split("-")[1] == version
    assert Version(version) >= Version("0.1.0.dev0")
    assert run(installed / "rankformer", "--version").strip() == version
    script = "import rankformer; print(rankformer.__version__, rankformer.__file__)"
    told, file = run(installed / "python", "-c", script).split()
    assert told == version
    assert Path(file).is_relative_to(installed.parent)


def test_the_wheel_embeds_with_its_own_model(installed, tmp_path):
    genes = rankformer.Checkpoint.open("rankformer-mini").vocabulary.ensembl_ids[:300]
    adata = ad.AnnData(small_counts(6, len(genes)))
    adata.var_names = list(genes)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    words = ["embed", "cells.h5ad", "-o", "out.npy", "--model", "rankformer-mini"]
    run(installed / "rankformer", *words, "--dtype", "float32", cwd=tmp_path)
    expected = rankformer.tl.embed(adata, model="rankformer-mini", dtype="float32", copy=True)
    found = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(found, expected.obsm["X_geneformer"], atol=1e-5)


def test_a_folder_without_git_takes_the_version_that_the_changelog_names_first(tmp_path):
    """As does a clone without tags, for its commits."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "src" / "rankformer").mkdir(parents=True)
    (tmp_path / "src" / "rankformer" / "__init__.py").touch()
    run(*BUILD, "--target", "wheel", "--directory", tmp_path, cwd=tmp_path)
    first = re.search(r"^## (\S+?)[,\s]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    built = next(tmp_path.glob("*.whl")).name.split("-")[1]
    assert Version(built).base_version == first


def test_what_is_installed_says_who_made_it_under_which_licence(wheel):
    archive = zipfile.ZipFile(wheel)
    described = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(archive.read(described))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Author"] == "The rankformer developers"
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert metadata["Requires-Python"] == python
