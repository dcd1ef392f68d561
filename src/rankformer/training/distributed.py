"""Processes that train one model together, as torchrun starts them."""

import os
import time
from pathlib import Path

from rankformer.errors import OutputError

_SECONDS_BETWEEN_LOOKS = 0.5
# The first process may predict many test cells before it writes.
_MOST_SECONDS = 6 * 3600.0


def is_distributed() -> bool:
    """Whether torchrun started this process beside others."""
    return world_size() > 1


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether it is to write what is written once."""
    return not is_distributed() or int(os.environ.get("RANK", "0")) == 0


def wait_for(output: Path, seconds: float = _MOST_SECONDS) -> None:
    """Wait until the first process has put its output there.

    A collective of torch would give up within minutes. Where the first process fails, torchrun ends
    the others.

    Raises
    ------
    OutputError
        If it is not there after `seconds`.
    """
    until = time.monotonic() + seconds
    while not output.exists():
        if time.monotonic() > until:
            raise OutputError(
                f"The first process did not put {output} where process "
                f"{os.environ.get('RANK', '0')} can see it, within {seconds:,.0f} s.",
                "One disk that all machines of the run share.",
                "Name an output in a folder that each machine sees under the same path.",
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)
