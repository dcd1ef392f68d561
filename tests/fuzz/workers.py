"""A process that reads damaged files, and may crash or hang in the place of the one that asks."""

import multiprocessing
import os
import signal
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

_SECONDS_TO_MAKE = 600.0  # sound files of all kinds, on a busy machine
# To damage and to judge; and libraries and kernels, which the first case of a process loads.
_SECONDS_FOR_THE_REST = 60.0
_MEMORY_GB = 3.0
# Loaded once, in the process from which workers are forked.
_LIBRARIES = [
    "anndata", "torch", "datasets", "zarr", "h5py", "pyarrow.parquet", "transformers", "scipy.io",
    "safetensors.torch", "usearch.index", "numba", "sklearn", "accelerate",
]  # fmt: skip
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# One thread, and a file that HDF5 finds no end of is given up on well before a read is.
_ENVIRONMENT = {**dict.fromkeys(_THREADS, "1"), "RANKFORMER_OPENING_SECONDS": "2"}


class RefusedError(Exception):
    """A command ended as it is to end at bad input."""


class UnforeseenError(Exception):
    """A command ended in another way."""


@dataclass(frozen=True)
class Answer:
    """What became of a case: its outcome, last words, and how the file was damaged."""

    outcome: str
    detail: str = ""
    source: str = ""
    kind: str = ""
    part: str = ""


class Worker:
    """Runs cases in a process of its own, which is started anew after its death.

    Parameters
    ----------
    module, root
        What has `prepare` and `Cases`, by its name; and the folder they are given.
    seconds
        What one read may take; beyond, the process is killed.
    """

    def __init__(self, module: str, root: Path, seconds: float) -> None:
        self._module, self._root, self._seconds = module, root, seconds
        self._process: Any = None

    def prepare(self, *arguments: Any) -> None:
        """Call `prepare` of the module, in the process."""
        problem = self._ask("prepare", arguments, _SECONDS_TO_MAKE)
        assert problem is None, problem.detail

    def run(self, loader: str, seed: int, number: int) -> Answer:
        """Damage a sound file, read it, and judge what comes of it."""
        answer: Answer = self._ask("case", (loader, seed, number), self._seconds)
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def _ask(self, what: str, arguments: tuple[Any, ...], seconds: float) -> Any:
        """The last of the answers: each is the one to keep where the process ends behind it."""
        if not self._is_alive():
            self._start()
        answer = Answer("harness", "the file could not be damaged")
        limits = {"damaged": seconds, "read": _SECONDS_FOR_THE_REST, "begun": _SECONDS_FOR_THE_REST}
        stage = "begun" if what == "case" else "damaged"
        try:
            self._connection.send((what, arguments))
            while self._is_told(limits[stage]):
                stage, answer = self._connection.recv()
                if stage == "done":
                    return answer
        except (EOFError, ConnectionError):
            self._process.join()
            return self._crashed(stage, answer)
        self.close()
        return answer

    def _is_told(self, seconds: float) -> bool:
        """Whether an answer came before the process had so many seconds of the processor.

        On a busy machine these take longer; a process that waits has sixty times as long.
        """
        process = psutil.Process(self._process.pid)
        before = _seconds_used(process)
        for _ in range(60):
            if self._connection.poll(seconds):
                return True
            if _seconds_used(process) - before >= seconds:
                return False
        return False

    def _crashed(self, stage: str, answer: Answer) -> Answer:
        ended = _name_end(self._process.exitcode)
        if stage == "read":
            return answer
        return Answer("crash", ended, answer.source, answer.kind, answer.part)

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*_LIBRARIES, "tests.fuzz.cases"])
        self._connection, others = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(others, self._module, str(self._root)), daemon=True
        )
        # For the server of forks alone: numba refuses another number of threads here later.
        with patch.dict(os.environ, _ENVIRONMENT):
            self._process.start()
        others.close()
        assert self._connection.recv() == "ready"


def _seconds_used(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))
    return 0.0


def _name_end(exit_code: int) -> str:
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit status {exit_code}"


def _serve(connection: Connection, module: str, root: str) -> None:
    import importlib
    import logging

    import torch
    from tests.damage import little_memory

    # torch's threads would not live on in a process that was forked.
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    own = importlib.import_module(module)
    cases = own.Cases(Path(root), os.getpid())
    connection.send("ready")
    with little_memory(_MEMORY_GB):
        while True:
            what, arguments = connection.recv()
            try:
                if what == "prepare":
                    own.prepare(Path(root), *arguments)
                    connection.send(("done", None))
                    continue
                for each in cases.run(*arguments):
                    connection.send(each)
            except Exception:
                connection.send(("done", Answer("harness", traceback.format_exc(limit=-5))))
