"""What a measurement ran on, without the paths and names of the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Instructions that decide how fast a CPU multiplies; names as Linux gives them.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")


def describe_machine() -> dict[str, Any]:
    """CPU, memory, system, date and the checkout's commit."""
    info = _first_of("/proc/cpuinfo")
    flags = set(info.get("flags", info.get("Features", "")).split())
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "cpu_family_and_model": f"{info.get('cpu family', '?')}/{info.get('model', '?')}",
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
    }


def load_average() -> float:
    """Processes that want to run, over the last minute: other work makes figures worse."""
    return round(os.getloadavg()[0], 2)


def _first_of(path: str) -> dict[str, str]:
    """The first block of `key : value` lines of a file of /proc."""
    try:
        block = Path(path).read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _memory_gb() -> float | None:
    total = _first_of("/proc/meminfo").get("MemTotal")
    return round(int(total.split()[0]) / 1024**2, 1) if total else None


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return None


def _commit() -> str | None:
    """The commit, with a plus sign where files of the package are changed since."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", root, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "src", "pyproject.toml")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
