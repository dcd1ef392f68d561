"""Looks up the versions of constraints.txt among those with known weaknesses, by pip-audit.

It runs in an environment of its own, .audit. The exit status is 1 where a weakness is known; and
where nothing could be looked up, unless --where-reachable says that this is no failure.
"""

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "pip-audit>=2.7"


def main() -> int:
    """Run the audit, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where-reachable", action="store_true")
    parser.add_argument("--environment", type=Path, default=ROOT / ".audit")
    parser.add_argument("--versions", type=Path, default=ROOT / "constraints.txt")
    given = parser.parse_args()
    try:
        found = look_up(given.environment, given.versions)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        return say(f"Not audited: pip-audit could not be installed or run ({error}).",
                   failed=not given.where_reachable)  # fmt: skip
    seen = [each for each in found if "skip_reason" not in each]
    weak = [each for each in seen if each["vulns"]]
    for each in weak:
        for known in each["vulns"]:
            repaired = ", ".join(known["fix_versions"]) or "no version yet"
            print(f"{each['name']} {each['version']}: {known['id']}, repaired in {repaired}")
    if not seen:
        told = f"Not audited: none of {len(found)} versions is known where pip-audit asks."
        return say(told, failed=not given.where_reachable)
    told = f"Audited {len(seen)} of {len(found)} versions: {len(weak)} with known weaknesses."
    if len(seen) < len(found):
        told += " The others the service does not know, or it was not reached."
    is_unseen = len(seen) < len(found) and not given.where_reachable
    return say(told, failed=bool(weak) or is_unseen)


def look_up(environment: Path, versions: Path) -> list[dict[str, Any]]:
    """What pip-audit says of each version, as its JSON has it.

    Raises
    ------
    subprocess.SubprocessError, OSError, ValueError
        If it cannot be installed, or does not answer.
    """
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    quiet: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 600}
    install = [python, "-m", "pip", "install", "--quiet", PACKAGE]
    subprocess.run(install, check=True, **quiet)
    # Versions are named exactly: nothing is resolved or installed.
    words = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(
        [python, "-m", "pip_audit", "--requirement", versions, *words], **quiet, check=False
    )
    if not done.stdout:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(last[:200])
    found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    return found


def say(told: str, *, failed: bool) -> int:
    """Print a sentence, and give the exit status."""
    print(told)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
