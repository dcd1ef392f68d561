"""Readers with faults, which the bench must notice: the module of cases of its own test."""

import os
import signal
from pathlib import Path

import numpy as np
from tests.fuzz import cases
from tests.fuzz.content import Content
from tests.fuzz.loaders import Loader
from tests.fuzz.mutations.hdf5 import SECRET_NUMBER
from tests.fuzz.mutations.pickles import MARKER

from rankformer.errors import TableError

TEXT = "a sound text"


def _make(folder: Path) -> None:
    (folder / "file.odd").write_text(TEXT)


def _read(path: Path) -> Content:
    return {"bytes": path.read_bytes()}


def _loader(name: str, act: object) -> Loader:
    def read(path: Path) -> Content:
        found = _read(path)
        return found if found["bytes"] == TEXT.encode() else act(found)

    return Loader(name, _make, read, _judge, 1)


def _judge(sound: Path, damaged: Path, right: Content, found: Content) -> str:
    same = found["bytes"] == damaged.read_bytes()
    return "read, as the file says" if same else "wrong result"


def _crash(found: Content) -> Content:
    os.kill(os.getpid(), signal.SIGSEGV)
    return found


def _hang(found: Content) -> Content:
    while True:
        found = dict(found)


def _take_memory(found: Content) -> Content:
    return {"bytes": bytes(np.ones(1 << 28, np.uint8)[:4])}


def _allocate(found: Content) -> Content:
    return {"bytes": np.ones(1 << 40, np.uint8)}


def _refuse(found: Content) -> Content:
    raise TableError("It is damaged.", "A sound one.", "Take another.")


def _fail(found: Content) -> Content:
    raise KeyError("odd")


def _run_code(found: Content) -> Content:
    Path(MARKER).touch()
    return _refuse(found)


PLANTED = {
    "read, as the file says": lambda found: found,
    "refused": _refuse,
    "wrong result": lambda found: {"bytes": b"other"},
    "read elsewhere": lambda found: {"bytes": np.array([SECRET_NUMBER])},
    "code run": _run_code,
    "traceback": _fail,
    "memory": _take_memory,
    "memory, refused": _allocate,
    "crash": _crash,
    "hang": _hang,
}
TABLE = tuple(_loader(name, act) for name, act in PLANTED.items())


def prepare(root: Path, names: tuple[str, ...]) -> None:
    cases.prepare(root, names, TABLE)


class Cases(cases.Cases):
    table = TABLE
    most_memory = 1 << 27
