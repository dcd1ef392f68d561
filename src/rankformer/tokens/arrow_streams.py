"""Arrow streams in files, validated before they are read.

Arrow trusts what a stream says of its own lengths, and a damaged one can take the interpreter down.
It is therefore read and validated in full by a process of its own first, whose crash is an answer.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_CHECK = """
import sys
import pyarrow as pa
for path in sys.argv[1:]:
    try:
        with pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                batch.validate(full=True)
    except Exception as error:
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
    print("sound", flush=True)
"""


def check_streams(paths: Sequence[Path]) -> None:
    """Validate streams of Arrow in full.

    Of lists and texts the offsets are read, and the texts; numbers are not.

    Raises
    ------
    ValueError
        If one is damaged; the message names it.
    """
    # -P: no module is taken from the folder that the command runs in, which may be the dataset.
    checked = subprocess.run(  # noqa: S603  # this interpreter, and names of files
        [sys.executable, "-P", "-c", _CHECK, *map(str, paths)], capture_output=True, text=True
    )
    # Each file that was read whole has a line; the next one ended the process.
    n_sound = len(checked.stdout.splitlines())
    if n_sound == len(paths):
        return
    name = paths[n_sound].name
    if checked.returncode == -signal.SIGKILL:
        raise ValueError(f"{name}: the process that reads it was killed, as where memory runs out")
    crashed = checked.returncode != 1
    reason = "reading it crashes Arrow" if crashed else checked.stderr.strip().splitlines()[-1]
    raise ValueError(f"{name} is damaged: {reason.rstrip('.')}")


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """`datasets` shows one for its file of no rows."""
    from datasets.utils.logging import (
        disable_progress_bar,
        enable_progress_bar,
        is_progress_bar_enabled,
    )

    enabled = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            enable_progress_bar()
