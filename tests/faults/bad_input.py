"""One bad input: how it is laid out, how it is given, and what must be said; and how it is run."""

import io
import logging
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from unittest import mock

from tests.conftest import save_small_checkpoint, small_vocabulary

from rankformer.cli import main
from rankformer.errors import RankformerError

EMBED = "embed pbmc.h5ad -o out.h5ad -m model"


def nothing(folder: Path) -> None:
    """Lay out nothing beside the models."""


@dataclass(frozen=True)
class BadInput:
    """A row of the table.

    Attributes
    ----------
    given
        What was given, as the page says it.
    prepare
        Lays the files in a folder that holds the small models ``model`` (V2) and ``model-v1``.
    says
        Phrases that a helpful message must have: written by hand, for what was found, what was
        expected and what to do.
    command
        Arguments of ``rankformer``, run in that folder.
    call
        Instead of a command: Python that must raise.
    in_process
        False runs the command in a process of its own.
    varies
        A pattern of what other libraries or machines say otherwise; the page shows "…".
    """

    given: str
    prepare: Callable[[Path], object]
    says: tuple[str, ...]
    command: str = EMBED
    call: Callable[[Path], object] | None = None
    in_process: bool = True
    varies: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run ended with: an exit status (None for Python), and all it wrote to stderr."""

    status: int | None
    stderr: str

    @property
    def message(self) -> str:
        """The last thing said."""
        return self.stderr.strip().splitlines()[-1] if self.stderr.strip() else ""


def save_models(folder: Path) -> Path:
    """The models that every case may use: small, of random weights."""
    save_small_checkpoint(folder / "model", small_vocabulary())
    save_small_checkpoint(folder / "model-v1", small_vocabulary(special=False))
    return folder


def lay_out(case: BadInput, folder: Path, models: Path) -> None:
    """Make the folder in which the case is run."""
    folder.mkdir()
    for model in models.iterdir():
        (folder / model.name).symlink_to(model)
    case.prepare(folder)


def run(case: BadInput, folder: Path) -> Outcome:
    """Give the bad input, and see what comes back."""
    if case.call is not None:
        return _call(case.call, folder)
    arguments = shlex.split(case.command)
    return run_here(arguments, folder) if case.in_process else run_process(arguments, folder)


def run_process(arguments: list[str], folder: Path) -> Outcome:
    """Run a command in a process of its own, in `folder`."""
    command = [sys.executable, "-m", "rankformer", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return Outcome(done.returncode, done.stderr)


def run_here(arguments: list[str], folder: Path) -> Outcome:
    """Run a command in this process, which saves the start; what was set for it is set back."""
    errors = io.StringIO()
    status: int | None = 0
    with (
        chdir(folder),
        _own_logging(),
        mock.patch.dict(os.environ),
        mock.patch.object(sys, "argv", ["rankformer", *arguments]),
        redirect_stderr(errors),
        redirect_stdout(io.StringIO()),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0
        except Exception:
            status = 1
            errors.write(traceback.format_exc())
    return Outcome(status, errors.getvalue())


def snapshot(folder: Path) -> dict[str, str]:
    """Every file below `folder` with the hash of its bytes."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tell(case: BadInput, outcome: Outcome, folder: Path) -> str:
    """The message as a page shows it: on any machine the same."""
    places = {f"{folder.resolve()}/": "", str(Path(os.environ["HF_HOME"])): "~/.cache/huggingface",
              os.environ["HOME"]: "~"}  # fmt: skip
    message = outcome.message
    for place, shown in places.items():
        message = message.replace(place, shown)
    return re.sub(case.varies, "…", message) if case.varies else message


def _call(call: Callable[[Path], object], folder: Path) -> Outcome:
    with chdir(folder):
        try:
            call(folder)
        except RankformerError as error:
            return Outcome(None, f"{type(error).__name__}: {error}")
    return Outcome(None, "")


@contextmanager
def _own_logging() -> Iterator[None]:
    logger = logging.getLogger("rankformer")
    before = logger.handlers, logger.level, logger.propagate
    try:
        yield
    finally:
        logger.handlers, level, logger.propagate = before
        logger.setLevel(level)
