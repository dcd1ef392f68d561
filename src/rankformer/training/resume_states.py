"""What a checkpoint of a training holds beside weights, looked at before transformers reads it.

Old versions of transformers believe pickles; ours refuses them whichever is installed.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rankformer.errors import OutputError
from rankformer.training.run_folder import damaged_checkpoint

_STATE = "trainer_state.json"
_PICKLES = ("*.pt", "*.pth", "pytorch_model.bin")


def check_resume_states(folder: Path) -> None:
    """Refuse a checkpoint that holds more than tensors and numbers, or leads out of its run.

    Raises
    ------
    OutputError
        If it does so.
    """
    for file in sorted(each for pattern in _PICKLES for each in folder.glob(pattern)):
        _expect_tensors(file)
    if (folder / _STATE).is_file():
        _expect_best_of_the_run(folder / _STATE)


def _expect_tensors(file: Path) -> None:
    try:
        with _numbers_of_numpy():
            # Mapped: nothing is read but what says which tensors there are.
            torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    # What is wrong with it torch says by errors of many kinds.
    except Exception as error:
        raise damaged_checkpoint(file) from error


@contextmanager
def _numbers_of_numpy() -> Iterator[None]:
    """Let torch read arrays of numbers: the states of numpy's generator are such."""
    core: Any = np._core if hasattr(np, "_core") else np.core
    kinds = [core.multiarray._reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(kinds)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _expect_best_of_the_run(file: Path) -> None:
    """The best weights so far are those of a folder that the state names, of any place."""
    try:
        state = json.loads(file.read_text("utf-8"))
        best, step = state.get("best_model_checkpoint"), state.get("best_global_step")
        # A run that was moved names a place that is there no more, which is passed over.
        is_there = isinstance(best, str) and Path(best).is_dir()
        run = file.parent.resolve().parent
        is_of_the_run = not is_there or Path(best).resolve().parent == run
    except (OSError, ValueError, AttributeError) as error:
        raise damaged_checkpoint(file) from error
    if not isinstance(best, str | None) or not isinstance(step, int | None):
        raise damaged_checkpoint(file)
    if not is_of_the_run:
        raise OutputError(
            f"{file} names {best} as the best checkpoint of the run.",
            f"A checkpoint in {file.parent.parent}, from which alone a run goes on.",
            "Resume only runs of your own. Where this is one and was copied, remove or rename the "
            "folder that it names.",
        )
