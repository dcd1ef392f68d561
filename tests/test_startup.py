"""What a command on few cells does not wait for."""

import json
import os
import subprocess
import sys

import pytest

import rankformer

# Compilers, training, plotting and statistics: seconds of imports.
HEAVY = {
    "torch._dynamo", "torch._inductor", "sympy", "transformers", "datasets", "peft", "accelerate",
    "huggingface_hub", "scanpy", "sklearn", "statsmodels", "matplotlib", "networkx", "ray", "dask",
}  # fmt: skip
SCRIPT = """
import atexit, gc, json, sys
atexit.register(lambda: print(json.dumps([gc.get_freeze_count(), sorted(sys.modules)])))
from rankformer.cli import run
run()
"""


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """How many objects were frozen at the end of ``rankformer embed``, and what was imported."""
    folder = tmp_path_factory.mktemp("startup")
    rankformer.datasets.blood_cells()[:50].write_h5ad(folder / "cells.h5ad")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "embed", folder / "cells.h5ad", "-o", folder / "out.h5ad",
         "--model", "rankformer-mini"],
        capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "out.h5ad").is_file()
    n_frozen, modules = json.loads(done.stdout.splitlines()[-1])
    return n_frozen, set(modules)


def test_embedding_imports_nothing_that_it_does_not_need(embedded):
    _, modules = embedded
    assert "torch" in modules
    assert not HEAVY & modules


def test_the_end_is_not_spent_on_garbage(embedded):
    """Python would look through all modules for cycles, for a second, before it lets go of them."""
    n_frozen, modules = embedded
    assert n_frozen > len(modules)
