"""What is missing is named with a command that brings it."""

import re
import shlex

import pytest
from packaging.requirements import Requirement

from rankformer import requirements
from rankformer.errors import SettingsError
from rankformer.requirements import require_packages


@pytest.mark.parametrize("package", ["optuna", "ray"])
def test_the_advice_for_a_search_brings_its_package(package, monkeypatch):
    monkeypatch.setattr(requirements, "find_spec", lambda _: None)
    with pytest.raises(SettingsError) as raised:
        require_packages(package, extra="search")
    [command] = re.findall("`(.+)`", raised.value.fix)
    assert shlex.split(command)[:2] == ["pip", "install"]
    named = map(Requirement, shlex.split(command)[2:])
    assert package in {each.name for each in named}
