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
from importlib.machinery import PathFinder

class Present(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        is_there = name.partition(".")[0] not in {names!r}
        return super().find_spec(name, path, target) if is_there else None

sys.meta_path[:] = [Present if each is PathFinder else each for each in sys.meta_path]
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
    # Some packages bring their tests by that name.
    return {
        name
        for name, brought_by in packages_distributions().items()
        if name != "tests"
        and not {canonicalize_name(each) for each in brought_by} & {*kept, "rankformer", "triton"}
    }


@pytest.fixture(scope="module")
def run_pytest(tmp_path_factory):
    """pytest where other packages are not there."""
    folder, names = tmp_path_factory.mktemp("machine"), blocked_names()
    assert {"scanpy", "transformers", "sklearn", "matplotlib", "hypothesis"} <= names
    assert not {"torch", "numpy", "anndata", "pytest", "datasets"} & names
    (folder / "sitecustomize.py").write_text(BLOCKING.format(names=names))
    path = os.pathsep.join([str(folder), str(ROOT / "src")])
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
        if "mark.gpu" in each.read_text() and each != Path(__file__)
    }  # fmt: skip
    assert files >= marked - {"tests/model/cuda/test_fused.py"}, said


def test_they_run_there(run_pytest):
    """One that runs on a CPU, with all that is set up for every test."""
    status, said = run_pytest("tests/model/test_attention.py", "-k", "attend_to_themselves")
    assert (status, "1 passed" in said) == (0, True), said
