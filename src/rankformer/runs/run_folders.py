"""The folder of a run: how it is told from others, and what in it is ours."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rankformer.errors import OutputError
from rankformer.placed import PARTS, forget_placing
from rankformer.runs.locks import locked
from rankformer.runs.manifest import FORMAT, MANIFEST
from rankformer.scratch import as_output_error

SHARDS, PREPARED = "shards", "prepared"
PLAN = "plan"
# What a run, or the task that it is of, keeps in its folder.
_WORK = (SHARDS, "failures")
# What is made as a run is described, before its manifest is written.
_DESCRIBED = ("reference", PREPARED)
_ASIDE = "before.part"
_HEAD_BYTES = 200


def parts_folder(output: Path) -> Path:
    """Where the shards of a run lie whose output is a file."""
    return output.with_name(f"{output.name}{PARTS}")


def is_run_folder(path: Path) -> bool:
    """Whether there is a run in it: others, too, name a file ``manifest.json``."""
    try:
        with (path / MANIFEST).open("rb") as stream:
            is_ours = f'"{FORMAT}"'.encode() in stream.read(_HEAD_BYTES)
    except OSError:
        return False
    # A damaged one is known by what a run leaves beside it.
    return is_ours or (path / f"{PLAN}.lock").is_file()


def expect_run_folder(folder: Path) -> None:
    """Refuse a folder with something else in it, to which shards would be added.

    Raises
    ------
    OutputError
        If it is not empty, and not that of a run; or cannot be made.
    """
    if folder.is_file():
        raise OutputError(
            f"{folder} is a file.", "A folder, or a name for one.", "Choose another output."
        )
    if not folder.parent.is_dir():
        raise OutputError(
            f"The folder {folder.parent} does not exist.",
            "A folder that exists.",
            "Make it, or choose another output.",
        )
    if not folder.exists() or is_run_folder(folder):
        return
    foreign = [
        each.name for each in folder.iterdir()
        if each.name not in (*_WORK, *_DESCRIBED) and each.suffix not in (".lock", ".part")
        and not each.name.endswith(".owner.json")
    ]  # fmt: skip
    if foreign:
        raise OutputError(
            f"The folder {folder} holds {', '.join(sorted(foreign)[:5])}.",
            "A folder that is not there yet, an empty one, or that of a run to go on with.",
            "Choose another output.",
        )


@contextmanager
def described_aside(folder: Path) -> Iterator[None]:
    """Hide what describes a run while one that is to take its place is described.

    Such are its reference, and what its inputs have in common. On an error, it is back.
    """
    put_back_described(folder)
    aside = folder / _ASIDE
    aside.mkdir()
    for name in _DESCRIBED:
        if (folder / name).exists():
            (folder / name).rename(aside / name)
        else:
            (aside / f"no-{name}").mkdir()
    try:
        yield
    except BaseException:
        put_back_described(folder)
        raise


def is_described_aside(folder: Path) -> bool:
    """Whether a run that was killed, or is at work, has set aside what describes an earlier one."""
    return (folder / _ASIDE).exists()


def put_back_described(folder: Path) -> None:
    """Put back what a run that was killed, or failed, had set aside."""
    aside = folder / _ASIDE
    if not aside.exists():
        return
    # Without a manifest, the run that it describes is no more.
    for name in _DESCRIBED if (folder / MANIFEST).exists() else ():
        if (aside / name).exists() or (aside / f"no-{name}").exists():
            shutil.rmtree(folder / name, ignore_errors=True)
        if (aside / name).exists():
            (aside / name).rename(folder / name)
        elif (aside / f"no-{name}").exists():
            (aside / f"no-{name}").rmdir()
    shutil.rmtree(aside)


def clear_run_folder(folder: Path) -> None:
    """Delete what an earlier run did, and nothing else that lies there.

    What describes it was set aside, see `described_aside`: what is there is that of the new run.
    Its locks stay, as others may hold or wait for them.

    Raises
    ------
    OutputError
        If it cannot be deleted.
    """
    with as_output_error(folder):
        # The manifest first: shards without one are of no run.
        (folder / MANIFEST).unlink(missing_ok=True)
        forget_placing(folder)
        left = [*(folder / name for name in _WORK), folder / _ASIDE]
        for name in (*_WORK, *_DESCRIBED):
            left += folder.glob(f"{name}.*.part")
        for each in left:
            if each.is_dir():
                shutil.rmtree(each)


def remove_without_work(folder: Path) -> None:
    """Remove a folder in which nothing was done, unless another run is at work on it."""
    # Another run may remove it meanwhile. It is locked anew, as a signal may have come before this
    # run held its lock.
    with suppress(OutputError, OSError):
        if not folder.exists() or holds_work(folder):
            return
        with locked(folder, None):
            if not holds_work(folder):
                shutil.rmtree(folder, ignore_errors=True)


def holds_work(folder: Path) -> bool:
    """Whether something was done in it: a shard, or what all shards need."""
    return any(any((folder / each).glob("*.parquet")) for each in (SHARDS, PREPARED))
