"""The folder of a training run: its settings, its checkpoints, and where to go on after a kill."""

import json
import logging
import re
import shlex
import shutil
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankformer.checkpoints.hashes import hash_of, list_hashes
from rankformer.errors import OutputError, RankformerError, SettingsError
from rankformer.own_files import expect_own_files
from rankformer.scratch import check_free, whole_or_nothing

logger = logging.getLogger(__name__)
_SETTINGS_FILE = "settings.json"
# Written last: a checkpoint without it was cut short.
_HASHES_FILE = "sha256.txt"
# Of processes beside the first, which may still be writing them.
_OF_OTHER_PROCESSES = "rng_state_*.pth"
_MOST_TOLD = 3
_LONGEST_NAME = 255  # of a file, in any usual file system


class TrainingRun:
    """The folder ``OUTPUT.run`` beside the output, which holds what a run needs to go on.

    Parameters
    ----------
    output
        Where the finished model will be.
    free
        Settings that change nothing of the result, and may differ when the run is gone on with.
    """

    def __init__(
        self, output: Path, free: Collection[str] = ("hyperparameters.log_steps",)
    ) -> None:
        self.output = output
        self.free = free
        self.folder = output.with_name(output.name + ".run")

    def check_output(self, *, resume: bool) -> None:
        """Refuse, before any work, an output that is there or has no place.

        Raises
        ------
        OutputError
            If it is so.
        """
        if resume and self.output.exists():
            raise OutputError(
                f"{self.output} is there already: its training is complete.",
                "The output of a run that was ended before it was done.",
                "Use it as it is, or train anew under another name.",
            )
        check_free(self.output)

    def begin(self, settings: Mapping[str, Any], *, resume: bool) -> Path | None:
        """Make the folder, or check that a run that was begun has the same settings.

        Returns
        -------
        The checkpoint to go on from, or None to begin.

        Raises
        ------
        OutputError
            If there is a run and it is not to be resumed, or there is none to resume, or the output
            is there.
        SettingsError
            If the settings differ from those the run was begun with.
        """
        self.check_output(resume=resume)
        if not resume:
            self._make(settings)
            return None
        self.expect_same(settings)
        return self.last_checkpoint()

    def expect_same(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that differ from those the run was begun with.

        Raises
        ------
        OutputError
            If there is no run.
        SettingsError
            If they differ.
        """
        before, now = (dict(_leaves(each)) for each in (self.settings(), _as_json(settings)))
        changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        changed = [key for key in changed if key not in self.free]
        if changed:
            raise _changed_settings(self.folder, before, now, changed)

    def last_checkpoint(self) -> Path | None:
        """The newest whole checkpoint; those that a kill cut short are removed.

        Raises
        ------
        OutputError
            If it was damaged after it was written; the message names the one before it. Or if the
            folder has links that lead out of it.
        """
        expect_own_files(self.folder, OutputError, within=True)
        folders = sorted(self.folder.glob("checkpoint-*"), key=_step, reverse=True)
        for folder in [each for each in folders if not _is_whole(each)]:
            shutil.rmtree(folder)
            folders.remove(folder)
        if not folders:
            return None
        damaged = _find_damaged(folders[0])
        if damaged is not None:
            raise damaged_checkpoint(damaged)
        return folders[0]

    @contextmanager
    def told_when_stopped(self) -> Iterator[None]:
        """Say how to go on where the training is stopped within the block, or fails unforeseen."""
        try:
            yield
        except RankformerError:
            raise
        except BaseException:
            logger.warning(
                "The training was stopped before it was complete. Run it again with resume=True "
                "(--resume) to go on from what %s keeps, or remove that folder to begin anew.",
                self.folder,
            )
            raise

    def tell_what_is_left(self) -> None:
        """Say that the folder is needed no more, now that the output is there."""
        files = [each for each in self.folder.rglob("*") if each.is_file()]
        logger.info(
            "%s keeps the last checkpoints of the training (%.0f MB). The finished model does not "
            "need them: remove the folder when you like, with rm -r %s",
            self.folder, sum(each.stat().st_size for each in files) / 1e6,
            shlex.quote(str(self.folder)),
        )  # fmt: skip

    def _make(self, settings: Mapping[str, Any]) -> None:
        if self.folder.exists():
            raise OutputError(
                f"A run was begun in {self.folder}.",
                "No run, or one to go on with.",
                "Pass resume=True (--resume) to go on, or remove the folder to begin anew: "
                f"rm -r {shlex.quote(str(self.folder))}",
            )
        with whole_or_nothing(self.folder, overwrite=False) as part:
            part.mkdir()
            text = json.dumps(settings, indent=2) + "\n"
            (part / _SETTINGS_FILE).write_text(text, encoding="utf-8")

    def settings(self) -> dict[str, Any]:
        """The settings that the run was begun with.

        Raises
        ------
        OutputError
            If there is no run.
        """
        try:
            settings: dict[str, Any] = json.loads((self.folder / _SETTINGS_FILE).read_text("utf-8"))
            if not isinstance(settings, dict):
                raise ValueError("its settings are damaged")
        except (OSError, ValueError) as error:
            raise OutputError(
                f"There is no run to resume in {self.folder}: {error}.",
                "The folder of a run that was begun with the same output.",
                "Leave out resume (--resume), or name the output of the run.",
            ) from error
        return _in_todays_words(settings)


def _in_todays_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the names that they have now: version 0.1.0 had others for some."""
    if "recipe" not in settings:
        return dict(settings)
    own = {**settings["recipe"]}
    if "pooling" in own:
        own["mode"] = own.pop("pooling")
    return {"hyperparameters": own, **{k: v for k, v in settings.items() if k != "recipe"}}


def _step(folder: Path) -> int:
    match = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    return int(match[1]) if match else -1


def bind_checkpoint(folder: Path) -> None:
    """Say that a checkpoint is whole, with the hashes of its files."""
    left_out = {folder / _HASHES_FILE, *folder.glob(_OF_OTHER_PROCESSES)}
    files = sorted(each for each in folder.iterdir() if each.is_file() and each not in left_out)
    with whole_or_nothing(folder / _HASHES_FILE, overwrite=True) as part:
        part.write_text(list_hashes(files), encoding="utf-8")


def _is_whole(folder: Path) -> bool:
    return (folder / _HASHES_FILE).is_file()


def _find_damaged(folder: Path) -> Path | None:
    """A file of a checkpoint whose bytes are not those that were written."""
    lines = (folder / _HASHES_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        sha256, _, name = line.partition("  ")
        if len(name) > _LONGEST_NAME:
            return folder / _HASHES_FILE
        file = folder / Path(name).name
        if not file.is_file() or hash_of(file) != sha256:
            return file
    others = sorted(folder.glob(_OF_OTHER_PROCESSES))
    return next((each for each in others if not _is_sound(each)), None)


def _is_sound(file: Path) -> bool:
    """Whether an archive of torch's has the checksums of its parts."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    # On damaged files it raises what it comes across, of zlib or of its own.
    except Exception:
        return False


def damaged_checkpoint(file: Path) -> OutputError:
    """The error for a file of a checkpoint that cannot be read; it offers the checkpoint before."""
    folder = file.parent
    siblings = sorted(folder.parent.glob("checkpoint-*"), key=_step)
    earlier = [each for each in siblings if _step(each) < _step(folder) and _is_whole(each)]
    advice = (
        f"Remove the folder {folder} to go on from {earlier[-1].name}, which lies beside it."
        if earlier
        else f"There is no earlier checkpoint: remove {folder.parent} and begin anew."
    )
    return OutputError(f"{file} is damaged.", "The file as the training run wrote it.", advice)


def _changed_settings(
    folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], changed: list[str]
) -> SettingsError:
    told = "; ".join(
        f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in changed[:_MOST_TOLD]
    )
    more = f"; and {len(changed) - _MOST_TOLD} more" if len(changed) > _MOST_TOLD else ""
    return SettingsError(
        f"The run in {folder} was begun with other settings: {told}{more}.",
        "The same settings and cells, so that the run goes on as it would have.",
        "Correct them, or begin a new run with another output.",
    )


def _as_json(settings: Mapping[str, Any]) -> Any:
    """As they come back from the file."""
    return json.loads(json.dumps(settings))


def _leaves(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Settings of settings by their whole names, such as ``hyperparameters.seed``."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{within}{key}.")
        else:
            yield within + key, value
