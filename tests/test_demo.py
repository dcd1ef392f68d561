"""`make demo`: what it writes and what it tells the reader to run."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import rankformer

pytestmark = pytest.mark.slow
DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo.py"


def run(*command: str | Path) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    # A blank in the name: the command that is printed must still work.
    return tmp_path_factory.mktemp("demo") / "my output"


@pytest.fixture(scope="module")
def printed(output) -> str:
    return run(sys.executable, DEMO, "--output", output)


def test_it_compares_the_model_with_pca(printed):
    for line in ("rankformer-mini, zero-shot", "PCA (50) of the same genes"):
        score = float(printed.split(f"  {line}", 1)[1].split("\n")[0].split()[-1])
        assert 0.4 < score < 1


def test_cells_are_embedded_in_their_order(printed, output):
    embedded = ad.read_h5ad(output / "blood.h5ad")
    cells = rankformer.datasets.blood_cells()
    assert embedded.obs_names.equals(cells.obs_names)
    assert np.isfinite(embedded.obsm["X_geneformer"]).all()
    assert embedded.obsm["X_umap"].shape == (700, 2)
    settings = embedded.uns["neighbors"]["params"]
    assert settings["use_rep"] == "X_geneformer"


def test_the_report_shows_these_cells(printed, output):
    page = (output / "report.html").read_text("utf-8")
    assert "<h1>700 blood cells</h1>" in page
    assert "HVG + PCA" in page


def test_the_picture_is_drawn(printed, output):
    from matplotlib.image import imread

    picture = imread(output / "umap.png")
    assert min(picture.shape[:2]) > 600
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 50


def test_the_command_it_prints_gives_the_same_embeddings(printed, output):
    command = shlex.split(printed.strip().splitlines()[-1])
    assert command[0] == "rankformer"
    run(sys.executable, "-m", *command)
    again = ad.read_h5ad(output / "again.h5ad").obsm["X_geneformer"]
    expected = ad.read_h5ad(output / "blood.h5ad").obsm["X_geneformer"]
    np.testing.assert_allclose(again, expected, atol=1e-5)
