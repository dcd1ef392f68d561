"""Install rankformer beside scanpy and squidpy in fresh environments: is anything lowered there?

Every step runs in the new environment.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import anndata
from machine import describe_machine
from packaging.version import Version
from reporting import write_json

CHECKOUT = Path(__file__).resolve().parents[1]
# What a user may have before: the newest releases, and older ones whose ranges hold numpy and
# pandas back, as spatial packages do.
ENVIRONMENTS = {
    "newest scanpy and squidpy": ["scanpy", "squidpy"],
    "older scanpy, numpy 1 and pandas 2.1": [
        "scanpy==1.10.4", "anndata==0.11.4", "numpy<2", "pandas<2.2", "scipy<1.14", "zarr<3",
        # pyarrow 26 needs numpy 2 and does not tell pip.
        "pyarrow<26",
    ],
}  # fmt: skip
N_TRIED = 3
Packages = dict[str, str]


def make_environment(folder: Path, python: str, packages: list[str]) -> Path:
    """Make a virtual environment with `packages`; return its interpreter."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    interpreter = folder / "bin" / "python"
    install(interpreter, packages)
    return interpreter


def install(interpreter: Path, arguments: list[str]) -> None:
    """Run pip install in an environment, silently; its own words are shown if it fails."""
    command = [interpreter, "-m", "pip", "install", "--quiet", *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"pip install {' '.join(arguments)} failed:\n{run.stderr}")


def installed_packages(interpreter: Path) -> Packages:
    """Name → version of all that an environment holds, rankformer left out."""
    command = [interpreter, "-m", "pip", "list", "--format", "json"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {row["name"].lower(): row["version"] for row in rows if row["name"] != "rankformer"}


def compare(before: Packages, after: Packages) -> dict[str, Packages]:
    """What was lowered or removed, raised, and added: {name: "old → new"} or {name: version}."""
    raised, lowered = {}, {}
    for name, old in before.items():
        new = after.get(name)
        if new != old:
            is_higher = new is not None and Version(new) > Version(old)
            (raised if is_higher else lowered)[name] = f"{old} → {new or 'removed'}"
    added = {name: new for name, new in after.items() if name not in before}
    return {"lowered_or_removed": lowered, "raised": raised, "added": added}


def dependencies_but_torch() -> list[str]:
    """What pyproject.toml asks for, torch left out."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return [each for each in project["dependencies"] if not re.match(r"torch\b", each)]


def install_rankformer(interpreter: Path, torch: str | None) -> None:
    """Install the checkout; without torch, its other dependencies first and it without any."""
    if torch:
        install(interpreter, [str(CHECKOUT), torch])
        return
    install(interpreter, dependencies_but_torch())
    install(interpreter, ["--no-deps", str(CHECKOUT)])


def try_out(interpreter: Path, arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Run there what should work, and return what was run; any failure ends this script."""
    command = interpreter.with_name("rankformer")
    trials = [[command, "--version"], [interpreter, "-c", "import scanpy, rankformer.cells.source"]]
    if arguments.cells:
        cells, out = folder / "cells.h5ad", folder / "out"
        anndata.read_h5ad(arguments.cells)[:N_TRIED].copy().write_h5ad(cells)
        model = ["--model", arguments.model]
        trials.append([command, "inspect", cells])
        trials.append([command, "tokenize", cells, "--output", out, *model])
        if not arguments.without_torch:
            trials.append([command, "embed", cells, "--output", folder / "out.h5ad", *model])
    for trial in trials:
        # From elsewhere than the checkout, so that the installed package is the one that runs.
        run = subprocess.run(trial, cwd=folder, capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"{' '.join(map(str, trial))} failed:\n{run.stdout}\n{run.stderr}")
    return [" ".join(map(str, (Path(first).name, *rest[:1]))) for first, *rest in trials]


def measure(name: str, python: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make one of the environments, install rankformer into it, compare, and try it out."""
    torch = None if arguments.without_torch else arguments.torch
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        interpreter = make_environment(folder / "env", python, ENVIRONMENTS[name])
        before = installed_packages(interpreter)
        began = time.perf_counter()
        install_rankformer(interpreter, torch)
        seconds = round(time.perf_counter() - began, 1)
        comparison = compare(before, installed_packages(interpreter))
        tried = try_out(interpreter, arguments, folder)
        run = subprocess.run([interpreter, "--version"], check=True, capture_output=True, text=True)
    return {
        "environment": name,
        "python": run.stdout.split()[1],
        "torch": torch or "left out",
        "asked_before": ENVIRONMENTS[name],
        "packages_before": before,
        "install_seconds": seconds,
        **comparison,
        "tried": tried,
    }


def show(result: dict[str, Any]) -> None:
    """Print what became of one environment."""
    print(f"{result['environment']}, Python {result['python']}, torch {result['torch']}:")
    print(f"  {len(result['packages_before'])} packages before")
    print(f"  installed in {result['install_seconds']} s; tried: {', '.join(result['tried'])}")
    for fate in ("lowered_or_removed", "raised", "added"):
        packages = ", ".join(f"{name} {change}" for name, change in result[fate].items())
        print(f"  {fate.replace('_', ' ')}: {len(result[fate])}. {packages}", flush=True)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters")
    parser.add_argument("--torch", default="torch==2.13.0", help="which build of torch to take")
    parser.add_argument("--without-torch", action="store_true", help="where no wheel is at hand")
    parser.add_argument("--environments", nargs="+", choices=ENVIRONMENTS, default=[*ENVIRONMENTS])
    parser.add_argument("--cells", type=Path, help="counts, to try it out on a few cells")
    parser.add_argument("--model", type=Path, help="folder of a checkpoint, for the same")
    parser.add_argument("--out", type=Path, required=True, help="JSON of what was found")
    arguments = parser.parse_args()
    if (arguments.cells is None) != (arguments.model is None):
        parser.error("--cells and --model go together")
    return arguments


def main() -> int:
    """Try each environment on each interpreter; fail where anything was lowered or removed."""
    arguments = parse_arguments()
    results = []
    for python in arguments.python:
        for name in arguments.environments:
            results.append(measure(name, python, arguments))
            show(results[-1])
    report = {"machine": describe_machine(), "results": results}
    write_json(arguments.out, report)
    return int(any(result["lowered_or_removed"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
