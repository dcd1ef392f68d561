"""What is missing is named with a command that brings it."""

import re
import shlex

import pytest

from rankformer.errors import SettingsError
from rankformer.tasks import requirements
from rankformer.tasks.requirements import require_packages


@pytest.mark.parametrize("package", ["optuna", "ray"])
def test_the_advice_for_a_search_brings_its_package(package, monkeypatch):
    monkeypatch.setattr(requirements, "find_spec", lambda _: None)
    with pytest.raises(SettingsError) as raised:
        require_packages(package, extra="search")
    named = shlex.split(raised.value.fix)
    assert any(re.fullmatch(rf"{package}(\[\w+\])?(>=.+)?", each) for each in named)
