"""Processes that train one model together, as torchrun starts them."""

import os
import time
from pathlib import Path

_SECONDS_BETWEEN_LOOKS = 0.5


def is_distributed() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first_process() -> bool:
    """Whether it is to write what is written once."""
    return not is_distributed() or int(os.environ.get("RANK", "0")) == 0


def wait_for(output: Path) -> None:
    """Wait until the first process has put its output there, however long that takes.

    A collective of torch would give up. Where the first process fails, torchrun ends the others.
    """
    while not output.exists():
        time.sleep(_SECONDS_BETWEEN_LOOKS)
