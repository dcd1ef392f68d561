"""Kernels where nothing may be written: a package of the system, a user without a home.

And what is told of their compilation, which takes seconds.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rankformer

SCRIPT = """
import logging
import numpy as np
from scipy.sparse import csr_matrix
from rankformer.corpus import log_buckets
from rankformer.tokens.rank_value import encode_rank_values
from tests.conftest import small_vocabulary

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
vocabulary = small_vocabulary(special=False)
tokens = vocabulary.tokens[:3].astype(np.int32)
counts = csr_matrix(vocabulary.medians[:3] * [[1, 3, 2]])
assert encode_rank_values(counts, tokens, vocabulary)[0].tolist() == tokens[[1, 2, 0]].tolist()
"""


@pytest.fixture
def unwritable_package(tmp_path):
    """A copy of the package, in which a file stands where a folder for kernels would be made."""
    package = tmp_path / "rankformer"
    shutil.copytree(
        Path(rankformer.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in ("corpus", "tokens"):
        (package / folder / "__pycache__").write_text("")
    return package


def _encode(package, **places):
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    path = f"{package.parent}{os.pathsep}{Path(__file__).parents[1]}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env=environment | places | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if "Kernels" in line]


def test_kernels_need_no_place_on_the_disk(unwritable_package):
    """That they are compiled at every start is told with advice, among the warnings."""
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": f"{os.devnull}/cache"}
    [told] = _encode(unwritable_package, **nowhere)
    assert told.startswith("WARNING")
    assert "NUMBA_CACHE_DIR" in told


def test_kernels_are_kept_for_the_next_start(unwritable_package, tmp_path):
    """As on a cluster, whose packages only its administrators write."""
    place = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    [told] = _encode(unwritable_package, **place)
    assert told.startswith("INFO")
    [folder] = re.findall(r"kept in (\S+) for", told)
    assert Path(folder).is_relative_to(tmp_path / "cache")
    assert list(Path(folder).iterdir())
    assert not _encode(unwritable_package, **place)
