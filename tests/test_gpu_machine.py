"""A machine that has a GPU, and of Python's packages no more than rankformer brings, and pytest."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
BLOCKING = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}: it is not on this machine")

sys.meta_path.insert(0, Absent())
"""


def needed(names):
    """Distributions, and all that they bring."""
    found, left = set(), [canonicalize_name(each) for each in names]
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            listed = map(Requirement, distribution(name).requires or ())
        except ModuleNotFoundError:
            continue
        found.add(name)
        left += [canonicalize_name(each.name) for each in listed
                 if each.marker is None or each.marker.evaluate({"extra": ""})]  # fmt: skip
    return found


def blocked_names():
    """What can be imported of packages that neither rankformer nor pytest brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    own = [Requirement(each).name for each in project["project"]["dependencies"]]
    kept = needed([*own, "pytest"])
    return {
        name
        for name, brought_by in packages_distributions().items()
        if not {canonicalize_name(each) for each in brought_by} & {*kept, "rankformer", "triton"}
    }


@pytest.fixture
def run_pytest(tmp_path):
    """pytest where other packages are not there."""
    names = blocked_names()
    assert {"scanpy", "transformers", "sklearn", "matplotlib", "hypothesis"} <= names
    assert not {"torch", "numpy", "anndata", "pytest", "datasets"} & names
    (tmp_path / "sitecustomize.py").write_text(BLOCKING.format(names=names))
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    def run(*arguments):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_tests_of_a_gpu_are_found_there(run_pytest):
    status, said = run_pytest("-m", "gpu", "--collect-only")
    assert status == 0, said
    files = set(re.findall(r"^(tests/\S+)::", said, re.MULTILINE))
    marked = {
        str(each.relative_to(ROOT)) for each in (ROOT / "tests").rglob("test_*.py")
        if "@pytest.mark.gpu" in each.read_text() and each != Path(__file__)
    }  # fmt: skip
    assert files >= marked - {"tests/model/cuda/test_fused.py"}, said


def test_they_run_there(run_pytest):
    """Those of a GPU are skipped on a machine without one, and what runs on a CPU passes."""
    status, said = run_pytest("tests/model/test_attention.py", "tests/model/cuda/test_flash.py")
    assert status == 0, said
    status, said = run_pytest("-m", "gpu")
    assert status == 0, said
