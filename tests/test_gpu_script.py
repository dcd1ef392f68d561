"""The script for a short visit to a GPU, tried where there is none."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"
LIMITS = {
    step: int(n) for step, n in re.findall(r"^run (\w+) (\d+)$", SCRIPT.read_text(), re.MULTILINE)
}


def test_all_steps_together_take_less_than_eight_minutes():
    assert set(LIMITS) >= {"facts", "tests", "encoder", "training", "pipeline", "perturbation"}
    assert sum(LIMITS.values()) < 8 * 60


def run_tiny(folder):
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        ["bash", SCRIPT, "--tiny", folder],  # noqa: S607  # wherever it is
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_runs_on_a_cpu_and_goes_on_where_it_was_stopped(tmp_path):
    said = run_tiny(tmp_path)
    reports = {step: tmp_path / f"{step}.json" for step in LIMITS}
    assert all(each.exists() for each in reports.values()), said
    models = json.loads(reports["encoder"].read_text())["models"]
    assert len(models) == 4
    for model in models:
        assert model["parity"]["float32_to_stand_in"] < 1e-5
        assert model["parity"]["float32_fused_to_plain"] < 1e-5
        assert model["parity"]["bfloat16_least_cosine"] > 0.9995
    reports["perturbation"].unlink()
    said = run_tiny(tmp_path)
    assert {step for step in LIMITS if f"{step}: is there" in said} == set(LIMITS) - {
        "perturbation"
    }
    assert reports["perturbation"].exists()
