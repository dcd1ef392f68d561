"""Kernels where nothing may be written: a package of the system, a user without a home."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import rankformer

SCRIPT = """
import numpy as np
from scipy.sparse import csr_matrix
from rankformer.corpus import log_buckets
from rankformer.tokens.rank_value import encode_rank_values
from tests.conftest import small_vocabulary

vocabulary = small_vocabulary(special=False)
tokens = vocabulary.tokens[:3].astype(np.int32)
counts = csr_matrix(vocabulary.medians[:3] * [[1, 3, 2]])
assert encode_rank_values(counts, tokens, vocabulary)[0].tolist() == tokens[[1, 2, 0]].tolist()
"""


def test_kernels_need_no_place_on_the_disk(tmp_path):
    """A file where a folder is to be made stands for one that may not be written to."""
    package = tmp_path / "rankformer"
    shutil.copytree(
        Path(rankformer.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in ("corpus", "tokens"):
        (package / folder / "__pycache__").write_text("")
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment |= {
        "HOME": os.devnull,
        "XDG_CACHE_HOME": f"{os.devnull}/cache",
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
