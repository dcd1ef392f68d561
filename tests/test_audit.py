"""The audit of versions says what came of it, and never calls what was not looked up sound."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "audit.py"
SOUND = {"name": "a", "version": "1", "vulns": []}
# As pip-audit writes them.
WEAK = {
    "name": "jinja2", "version": "2.4.1",
    "vulns": [{"id": "PYSEC-2014-8", "fix_versions": ["2.7.2"], "aliases": [], "description": ""}],
}  # fmt: skip
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found on PyPI and could not be audited: b"}
CASES = {
    "sound": ([SOUND], (0, 0), "Audited 1 of 1 versions: 0 with known weaknesses."),
    "weak": ([SOUND, WEAK], (1, 1), "jinja2 2.4.1: PYSEC-2014-8, repaired in 2.7.2"),
    "some unknown": ([SOUND, UNKNOWN], (1, 0), "Audited 1 of 2 versions"),
    "all unknown": ([UNKNOWN], (1, 0), "Not audited: none of 1 versions is known"),
    "no network": (OSError("no route"), (1, 0), "Not audited: pip-audit could not be installed"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("where_reachable", [False, True])
def test_what_an_audit_says(case, where_reachable, monkeypatch, capsys):
    """The service is not reached by tests: its answers are those that it gave."""
    found, statuses, told = CASES[case]

    def look_up(*_):
        if isinstance(found, Exception):
            raise found
        return found

    main = runpy.run_path(str(SCRIPT))["main"]
    monkeypatch.setitem(main.__globals__, "look_up", look_up)
    words = ["audit.py", "--where-reachable"] if where_reachable else ["audit.py"]
    monkeypatch.setattr("sys.argv", words)
    assert main() == statuses[where_reachable]
    assert told in capsys.readouterr().out
