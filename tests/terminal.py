"""A terminal for a command to write to."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path


def run_on_terminal(*words, width: int = 80, cwd: Path | None = None) -> tuple[int, str]:
    """Exit status of a command, and what it writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "rankformer", *map(str, words)],
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):  # Linux says so that the other end was closed
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    return process.wait(), said.decode()
