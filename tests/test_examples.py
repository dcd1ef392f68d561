"""The example of each command runs as it stands where `make demo` was run."""

import json
import os
import re
import shlex
import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import rankformer
from rankformer.cli.catalogue import entries
from tests.test_options import COMMANDS

pytestmark = pytest.mark.slow
# Needs the network; and a server, which runs until it is told to end.
ELSEWHERE = {"models fetch": "tests/checkpoints/test_hub.py", "mcp": "tests/mcp"}
# What each example writes.
OUTPUTS = {
    "example": ["blood.h5ad"],
    "report": ["report.html"],
    "embed": ["embedded.h5ad"],
    "annotate": ["labelled.h5ad"],
    "evaluate": ["evaluation/figures.json", "evaluation/comparison.png"],
    "perturb": ["perturbed.parquet"],
    "perturb-test": ["tested.csv", "volcano.png"],
    "network": ["network.graphml"],
    "finetune": ["my-model/model.safetensors", "my-model/scores.json"],
    "predict": ["predicted.h5ad"],
    "pretrain": ["my-pretrained/model.safetensors"],
    "tokenize": ["tokens/dataset_info.json"],
    "merge": ["all.h5ad"],
    "vocabulary build": ["vocabulary.parquet"],
    "vocabulary sketch": ["part-1.sketch"],
}


def run(*words, cwd):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder as `make demo` leaves it, with what its examples write to it."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "demo-output").mkdir()
    adata = rankformer.datasets.blood_cells()
    # The demo itself is tested in test_demo; its embedding is not what is tested here.
    components = sc.pp.pca(sc.pp.log1p(adata, copy=True).X, n_comps=20, random_state=0)
    adata.obsm["X_geneformer"] = np.asarray(components, dtype=np.float32)
    adata.write_h5ad(folder / "demo-output" / "blood.h5ad")
    return folder


@pytest.fixture(scope="module")
def done(desk):
    """Each example run once, after those whose outputs it reads."""
    found = {}

    def of(name):
        if name not in found:
            after = entries()[name].after if name in entries() else ""
            if " " in after:
                run("rankformer", *shlex.split(after), cwd=desk)
            elif after:
                of(after)
            _, _, line = COMMANDS[name].epilog.partition(": ")
            words = shlex.split(line)
            assert words[0] == "rankformer"
            found[name] = run(*words, cwd=desk)
        return found[name]

    return of


@pytest.mark.parametrize("name", [each for each in COMMANDS if each not in ELSEWHERE])
def test_an_example_runs(name, done, desk):
    ended = done(name)
    outputs = OUTPUTS.get(name, [])
    for output in outputs:
        assert (desk / output).exists()
        first = output.partition("/")[0]
        assert re.search(rf"^Wrote {first} \(", ended.stderr, re.MULTILINE), ended.stderr
    assert outputs or len(ended.stdout.splitlines()) > 5


def test_the_example_of_the_list_runs(desk):
    run("rankformer", "inspect", "demo-output/blood.h5ad", cwd=desk)


# Their next steps take the longest.
STEPS = [name for name in OUTPUTS if name not in ("evaluate", "perturb-test")]


@pytest.mark.parametrize("name", STEPS)
def test_what_is_advised_next_works(name, done, desk):
    said = done(name).stderr
    advised = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    commands = [line for line in advised if line.startswith("rankformer ")]
    own = ("import ", "adata ", "anndata.", "pandas.", "networkx.", "sc.", "webbrowser.")
    python = [line for line in advised if line.startswith(own)]
    assert commands or python
    for line in commands:
        run(*shlex.split(line), cwd=desk)
    if python:
        script = "import matplotlib; matplotlib.use('Agg')\n" + "\n".join(python)
        subprocess.run([sys.executable, "-c", script], check=True, cwd=desk)


def test_json_of_an_embedding_says_what_the_file_holds(desk):
    words = ("rankformer", "embed", "demo-output/blood.h5ad", "-o", "as-json.h5ad", "--json")
    ended = run(*words, cwd=desk)
    found = json.loads(ended.stdout)
    adata = ad.read_h5ad(desk / "as-json.h5ad")
    assert found["figures"]["n_cells"] == adata.n_obs
    assert found["figures"]["d_model"] == adata.obsm["X_geneformer"].shape[1]
    missing = np.isnan(adata.obsm["X_geneformer"]).all(1).sum()
    assert found["figures"]["n_cells_without_embedding"] == missing
