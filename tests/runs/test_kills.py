"""A short form of `python -m tests.runs`."""

import random
import sys

import pytest
from tests.runs.kills import lay_out, try_way, ways

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="signals as Linux has them"
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    lay_out(folder)
    return folder


@pytest.mark.parametrize("name", ["embed, file", "tokenize, file"])
def test_killed_twice_at_random_moments(desk, tmp_path, name):
    (way,) = [each for each in ways() if each.name == name]
    rng = random.Random()  # noqa: S311
    try_way(desk, tmp_path / "round", way, rng, most=2)


@pytest.mark.slow
@pytest.mark.parametrize("way", ways(), ids=lambda way: way.name)
def test_killed_over_and_over(desk, tmp_path, way):
    rng = random.Random()  # noqa: S311
    try_way(desk, tmp_path / "round", way, rng, most=4)
