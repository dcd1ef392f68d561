"""Processes that train one model together, as torchrun starts them."""

import os


def is_distributed() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first_process() -> bool:
    """Whether it is to write what is written once."""
    return int(os.environ.get("RANK", "0")) == 0
