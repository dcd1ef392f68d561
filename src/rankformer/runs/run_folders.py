"""The folder of a run: how it is told from others, and what in it is ours."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rankformer.errors import OutputError
from rankformer.placed import PARTS, forget_placing
from rankformer.runs.manifest import FORMAT, MANIFEST
from rankformer.scratch import as_output_error

SHARDS, PREPARED, _REFERENCE = "shards", "prepared", "reference"
PLAN = "plan"
# What a run, or the task that it is of, keeps in its folder.
_OWN_FOLDERS = (SHARDS, PREPARED, "failures")
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
        if each.name not in (*_OWN_FOLDERS, _REFERENCE) and each.suffix not in (".lock", ".part")
        and not each.name.endswith(".owner.json")
    ]  # fmt: skip
    if foreign:
        raise OutputError(
            f"The folder {folder} holds {', '.join(sorted(foreign)[:5])}.",
            "A folder that is not there yet, an empty one, or that of a run to go on with.",
            "Choose another output.",
        )


@contextmanager
def reference_aside(folder: Path) -> Iterator[None]:
    """Hide the reference of a run while one that is to take its place is described.

    The description makes a new reference where one is needed. On an error, the old one is back.
    """
    restore_reference(folder)
    aside = folder / _ASIDE
    aside.mkdir()
    if (folder / _REFERENCE).exists():
        (folder / _REFERENCE).rename(aside / _REFERENCE)
    try:
        yield
    except BaseException:
        restore_reference(folder)
        raise


def restore_reference(folder: Path) -> None:
    """Put back the reference that a run which was killed, or failed, had set aside."""
    aside = folder / _ASIDE
    if not aside.exists():
        return
    # Without a manifest, the run whose it was is no more.
    if (folder / MANIFEST).exists():
        if (folder / _REFERENCE).exists():
            shutil.rmtree(folder / _REFERENCE)
        if (aside / _REFERENCE).exists():
            (aside / _REFERENCE).rename(folder / _REFERENCE)
    shutil.rmtree(aside)


def clear_run_folder(folder: Path) -> None:
    """Delete what an earlier run did, and nothing else that lies there.

    Its reference was set aside, see `reference_aside`: the one that is there is that of the new
    run. Its locks stay, as others may hold or wait for them.

    Raises
    ------
    OutputError
        If it cannot be deleted.
    """
    with as_output_error(folder):
        # The manifest first: shards without one are of no run.
        (folder / MANIFEST).unlink(missing_ok=True)
        forget_placing(folder)
        left = [*(folder / name for name in _OWN_FOLDERS), folder / _ASIDE]
        for name in (*_OWN_FOLDERS, _REFERENCE):
            left += folder.glob(f"{name}.*.part")
        for each in left:
            if each.is_dir():
                shutil.rmtree(each)
