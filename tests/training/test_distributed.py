"""Processes that train together, and machines that cannot see each other's files."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from rankformer.errors import OutputError
from rankformer.training.distributed import wait_for

APART = """
import os, sys
from pathlib import Path
import torch
from rankformer.errors import OutputError
from rankformer.training import packed_trainer
from rankformer.pretraining.hyperparameters import PretrainingHyperparameters
from rankformer.training.run_folder import TrainingRun

packed_trainer._SECONDS_FOR_A_FOLDER = 2
own_disk = Path(sys.argv[1]) / os.environ["RANK"]
own_disk.mkdir()
run = TrainingRun(own_disk / "model")
arguments = packed_trainer.training_arguments(
    PretrainingHyperparameters(epochs=1.0, max_steps=1, warmup_steps=0), run.folder,
    device=torch.device("cpu"), dtype=torch.float32, evaluates=False,
)
try:
    packed_trainer.begin_run(run, arguments, {}, resume=False)
except OutputError as error:
    print(os.environ["RANK"], error, flush=True)
"""


def test_an_output_that_never_comes_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="One disk that all machines of the run share"):
        wait_for(tmp_path / "model", seconds=0)


def test_an_output_that_comes_late_is_waited_for(tmp_path):
    threading.Timer(1.0, (tmp_path / "model").mkdir).start()
    wait_for(tmp_path / "model", seconds=60)
    assert (tmp_path / "model").exists()


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_machines_without_a_shared_disk_are_told_before_they_train(tmp_path):
    """Two folders stand for two disks: the second process does not find the run of the first."""
    (tmp_path / "apart.py").write_text(APART)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
         tmp_path / "apart.py", tmp_path],
        capture_output=True, text=True, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "1 The first process did not put" in done.stdout, done.stderr
    assert "0 The first process" not in done.stdout
    assert not (Path(tmp_path) / "1" / "model.run").exists()
