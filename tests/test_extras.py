"""The advice on what to install works, however rankformer was installed."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from rankformer.errors import SettingsError
from rankformer.extras import install_command
from rankformer.requirements import require_packages

PYPROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_packages_of_an_extra_are_named(extra):
    """Not rankformer itself, which no index may have."""
    pip, install, *named = shlex.split(install_command(extra))
    assert (pip, install) == ("pip", "install")
    listed = map(Requirement, EXTRAS[extra])
    here = [each for each in listed if each.marker is None or each.marker.evaluate()]
    wanted = {each.name: each.specifier for each in here}
    assert {each.name: each.specifier for each in map(Requirement, named)} == wanted


def test_each_extra_that_is_asked_for_is_there():
    source = Path(__file__).resolve().parents[1] / "src" / "rankformer"
    asked = {
        found
        for file in source.rglob("*.py")
        for found in re.findall(r"""(?:extra=|install_command\()["'](\w+)["']""", file.read_text())
    }
    assert asked
    assert asked <= EXTRAS.keys()


@pytest.mark.parametrize(
    ("missing", "verb"), [(("nothing_a",), "is"), (("nothing_a", "nothing_b"), "are")]
)
def test_what_is_missing_is_told_in_plain_english(missing, verb):
    with pytest.raises(SettingsError) as caught:
        require_packages("json", *missing, extra="train")
    assert caught.value.found == f"{' and '.join(missing)} {verb} not installed."
    assert "transformers>=" in caught.value.fix
