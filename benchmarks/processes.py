"""Fresh processes, one after the other: each measurement starts from nothing."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import load_average
from runners.measuring import SPAWNED

RUNNERS = Path(__file__).resolve().parent / "runners"
Command = Sequence[str | os.PathLike[str]]


def run_measured(command: Command, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a runner in a fresh process and return its figures, the whole process's seconds added.

    The runner's own words are shown only if it fails.
    """
    load = load_average()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        seconds = timed([*command, "--out", out], environment)
        figures: dict[str, Any] = json.loads(out.read_text())
    return {**figures, "process_seconds": seconds, "load_before": load}


@dataclass(frozen=True)
class Spent:
    """Seconds of a process from its start to its end, and of CPUs for it and its children."""

    wall: float
    cpu: float


def timed(command: Command, environment: dict[str, str] | None = None) -> float:
    """Seconds from asking for a process to its end."""
    return spent(command, environment).wall


def spent(
    command: Command, environment: dict[str, str] | None = None, folder: Path | None = None
) -> Spent:
    """Run a process to its end, in a folder if one is named."""
    before, began, spawned = _cpu_of_children(), time.perf_counter(), str(time.time())
    run = subprocess.run(
        command,
        env={**os.environ, **(environment or {}), SPAWNED: spawned},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    wall = time.perf_counter() - began
    if run.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{run.stdout}\n{run.stderr}")
    return Spent(round(wall, 4), round(_cpu_of_children() - before, 4))


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
