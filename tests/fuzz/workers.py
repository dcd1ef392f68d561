"""A process that runs commands, and may crash or hang in the place of the one that asks."""

import multiprocessing
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from tests.damage import little_memory

SECONDS_TO_END = 10.0
_SECONDS_TO_LOAD = 60.0  # libraries, by the first command
_MEMORY_GB = 8.0


class Worker:
    """Runs commands of rankformer in a process of its own, which is started anew after its death.

    Parameters
    ----------
    seconds
        What a command may take; beyond, it is killed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: Any = None

    def run(self, words: list[str], folder: Path) -> dict[str, Any]:
        """Run a command in a folder.

        Returns
        -------
        ``status`` and ``message``, or ``crash`` (the name of the signal), or ``hangs``.
        """
        seconds = self._seconds
        if self._process is None or not self._process.is_alive():
            self._start()
            seconds += _SECONDS_TO_LOAD
        try:
            self._connection.send((words, str(folder)))
            if self._connection.poll(seconds):
                return self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            return {"crash": _name_end(self._process.exitcode)}
        self.close()
        return {"hangs": True}

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, others = context.Pipe()
        self._process = context.Process(target=_serve, args=(others,), daemon=True)
        self._process.start()
        others.close()
        assert self._connection.recv() == "ready"


def _name_end(exit_code: int) -> str:
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit status {exit_code}"


def _serve(connection: Connection) -> None:
    import torch
    from tests.faults.bad_input import run_here

    torch.set_num_threads(1)
    connection.send("ready")
    with little_memory(_MEMORY_GB):
        while True:
            words, folder = connection.recv()
            outcome = run_here(words, Path(folder))
            last = "\n".join(outcome.stderr.strip().splitlines()[-12:])
            connection.send({"status": outcome.status, "message": last})


def stop_command(words: list[str], folder: Path, after: float) -> float | None:
    """Seconds that a command takes to end after SIGTERM; None if it had ended by itself."""
    command = [sys.executable, "-m", "rankformer", *words]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.terminate()
    else:
        return None
    began = time.monotonic()
    try:
        process.wait(3 * SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return time.monotonic() - began


def read_vectors(file: Path) -> np.ndarray[Any, Any] | None:
    """(n_cells, d_model) as `embed` wrote them, or None; the file is removed."""
    if not file.exists():
        return None
    vectors = np.load(file)
    for each in file.parent.glob(f"{file.name}*"):
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    return vectors
