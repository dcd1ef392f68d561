"""Commands that are killed while they write shards."""

import signal
import subprocess
import sys

_CODE = """
import os, signal, sys
from rankformer.runs.shards import ShardWriter
add, n_left = ShardWriter.add, int(sys.argv.pop(1))
def add_or_die(self, table, *kind, **kinds):
    global n_left
    add(self, table, *kind, **kinds)
    n_left -= 1
    if n_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
ShardWriter.add = add_or_die
from rankformer.cli import main
main()
"""


def killed_at(n_tables: int, *words: object) -> None:
    """Run a command in a process that SIGKILL ends as it has added so many tables to shards."""
    process = subprocess.run(
        [sys.executable, "-c", _CODE, str(n_tables), *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL, process.stderr
