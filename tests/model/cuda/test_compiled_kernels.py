"""The kernels compile for NVIDIA cards: Triton's interpreter takes more than its compiler does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(sys.platform != "linux", reason="Triton brings NVIDIA's assembler on Linux")
def test_all_kernels_compile_for_cards_of_three_generations(tmp_path):
    environment = {key: each for key, each in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.cuda.compile_kernels"],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert {(line[0], line[1]) for line in lines} == {
        (name, capability)
        for name in ("add_norm_rows", "add_norm_gradients", "embed_norm_rows", "mean_rows")
        for capability in ("80", "90", "100")
    }
    assert all(int(line[3]) > 0 for line in lines)
    # At published widths, whatever is stored in two or four bytes is read 16 bytes at once.
    assert all(int(line[4]) > 0 for line in lines if line[2] != "100"), done.stdout
