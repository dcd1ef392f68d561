"""One case: a sound file is drawn and damaged by a number, read, and what was read is judged."""

import os
import pickle
import shutil
import traceback
import zlib
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
from tests.fuzz.content import Content, holds_secret, is_same
from tests.fuzz.loaders import LOADERS, Loader
from tests.fuzz.mutations.draw import damage
from tests.fuzz.mutations.pickles import MARKER
from tests.fuzz.sound import CELLS, MODEL, MODEL_V1, make_models
from tests.fuzz.workers import Answer, RefusedError

from rankformer.errors import RankformerError

GOOD = ("read", "read, as the file says", "refused")
BAD = ("wrong result", "cells lost", "read elsewhere", "code run", "traceback", "memory", "crash",
       "hang", "harness")  # fmt: skip
OUTCOMES = (*GOOD, *BAD)
_LAST_WORDS = 12


def prepare(root: Path, names: tuple[str, ...] = (), table: tuple[Loader, ...] = LOADERS) -> None:
    """Make the sound ones of some loaders below `root`, and read each."""
    make_models(root)
    for loader in table:
        if names and loader.name not in names:
            continue
        folder = root / _slug(loader)
        folder.mkdir()
        loader.make(folder)
        right = {}
        for each in sorted(folder.iterdir()):
            work = _lay_out(root, root / "work-sound", each)
            with chdir(work), _silence():
                right[each.name] = loader.read(Path(each.name))
        folder.with_suffix(".right").write_bytes(pickle.dumps(right))


class Cases:
    """Runs cases of loaders whose sound ones were made.

    Parameters
    ----------
    root
        Given to `prepare`.
    number
        Of the process, which has a folder of its own.
    """

    table = LOADERS
    most_memory = 1 << 30
    """Bytes that a read may take."""

    def __init__(self, root: Path, number: int) -> None:
        self._root, self._work = root, root / f"work-{number}"
        self._right: dict[str, dict[str, Content]] = {}
        self._loaded: set[str] = set()

    def run(self, name: str, seed: int, number: int) -> Iterator[tuple[str, Answer]]:
        """Stages of a case, each with the answer to keep where the process ends behind it."""
        (loader,) = (each for each in self.table if each.name == name)
        right = self._read_right(loader)
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        source = sorted(right)[int(rng.integers(len(right)))]
        sound = self._root / _slug(loader) / source
        _lay_out(self._root, self._work, sound)
        if name not in self._loaded:
            # So that no case is charged for libraries and kernels that are loaded.
            self._read(loader, Path(source))
            self._loaded.add(name)
            _lay_out(self._root, self._work, sound)
        damaged = self._work / source
        what = damage(damaged, rng)
        about = (source, what.kind, what.part)
        yield "damaged", Answer("hang", "", *about)
        outcome, detail, found = self._read(loader, Path(source))
        if outcome != "read" or is_same(found, right[source]):
            yield "done", Answer(outcome, detail, *about)
            return
        if holds_secret(found):
            yield "done", Answer("read elsewhere", "", *about)
            return
        yield "read", Answer("wrong result", "no other library reads it", *about)
        outcome, detail = _judge(loader, sound, damaged, right[source], found)
        yield "done", Answer(outcome, detail, *about)

    def _read(self, loader: Loader, path: Path) -> tuple[str, str, Content]:
        found: Content = {}
        before = _most_memory(reset=True)
        with chdir(self._work), _silence():
            try:
                found = loader.read(path)
                outcome, detail = "read", ""
            except (RankformerError, RefusedError) as error:
                outcome, detail = "refused", _last_words(error)
            except MemoryError as error:
                outcome, detail = "memory", _last_words(error)
            except BaseException as error:
                outcome, detail = "traceback", _last_words(error)
        grown = _most_memory() - before
        if grown > self.most_memory:
            outcome, detail = "memory", f"{grown / 1e6:,.0f} MB for {path}; {detail}"
        if any(self._work.rglob(MARKER)):
            outcome = "code run"
        return outcome, detail, found

    def _read_right(self, loader: Loader) -> dict[str, Content]:
        if loader.name not in self._right:
            content = (self._root / _slug(loader)).with_suffix(".right").read_bytes()
            self._right[loader.name] = pickle.loads(content)
        return self._right[loader.name]


def _judge(
    loader: Loader, sound: Path, damaged: Path, right: Content, found: Content
) -> tuple[str, str]:
    try:
        with _silence():
            return loader.judge(sound, damaged, right, found), ""
    except BaseException as error:
        return "wrong result", f"no other library reads it: {_last_words(error)}"


def _slug(loader: Loader) -> str:
    return loader.name.replace(", ", "-").replace(" ", "-")


def _lay_out(root: Path, work: Path, sound: Path) -> Path:
    """A folder with a copy of a sound one, and models and cells beside it."""
    if work.exists():
        shutil.rmtree(work)
    work.mkdir()
    for name in (MODEL, MODEL_V1, CELLS):
        (work / name).symlink_to(root / name)
    if sound.is_dir():
        shutil.copytree(sound, work / sound.name)
    else:
        shutil.copyfile(sound, work / sound.name)
    return work


def _last_words(error: BaseException) -> str:
    if isinstance(error, RankformerError | RefusedError):
        return f"{type(error).__name__}: {error}"[:400]
    return "\n".join("".join(traceback.format_exception(error)).splitlines()[-_LAST_WORDS:])[:2000]


class _silence:  # noqa: N801  # a context manager
    """Nothing on the terminal, of libraries either."""

    def __enter__(self) -> None:
        self._sink = Path(os.devnull).open("w")
        self._out, self._err = redirect_stdout(self._sink), redirect_stderr(self._sink)
        self._out.__enter__()
        self._err.__enter__()

    def __exit__(self, *ended: object) -> None:
        self._err.__exit__(None, None, None)
        self._out.__exit__(None, None, None)
        self._sink.close()


def _most_memory(*, reset: bool = False) -> int:
    """The most bytes that this process had in memory since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    name = "VmRSS" if reset else "VmHWM"
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
