"""What docs/going-on.md says of packages which the tests have not, where these are there."""

import re
from importlib.util import find_spec

import pytest

from tests.conftest import small_vocabulary
from tests.test_docs import MODEL, ROOT, desk  # noqa: F401

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs" / "going-on.md").read_text()
# Section → its blocks; those for tests/test_docs.py, in Python's full name, come first of all.
SECTIONS = {
    section.split("\n", 1)[0]: re.findall(r"```py\n(.*?)```", section, re.DOTALL)
    for section in PAGE.split("\n## ")[1:]
}
BEFORE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def vocabulary():
    return small_vocabulary()


@pytest.mark.parametrize("section", [name for name, blocks in SECTIONS.items() if blocks])
def test_what_goes_on_elsewhere_runs(section, desk):  # noqa: F811
    blocks = SECTIONS[section]
    needed = set(re.findall(r"^(?:import|from) (\w+)", "\n".join(blocks), re.MULTILINE))
    missing = sorted(name for name in needed if find_spec(name) is None)
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    names = {}
    for block in [*BEFORE, *blocks]:
        exec(block.replace(MODEL, str(desk)), names)  # noqa: S102
