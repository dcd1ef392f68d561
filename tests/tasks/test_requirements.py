"""What is missing is named with a command that brings it."""

import tomllib
from pathlib import Path

import pytest

from rankformer.errors import SettingsError
from rankformer.tasks import requirements
from rankformer.tasks.requirements import require_packages

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]


@pytest.mark.parametrize("package", ["optuna", "ray"])
def test_the_advice_for_a_search_brings_its_package(package, monkeypatch):
    monkeypatch.setattr(requirements, "find_spec", lambda _: None)
    with pytest.raises(SettingsError) as raised:
        require_packages(package, extra="search")
    in_extra = any(each.startswith(package) for each in EXTRAS["search"])
    assert ("rankformer[search]" in raised.value.fix) is in_extra
    assert in_extra or f'"{package}[' in raised.value.fix
