"""The log of a training run, read back from what it leaves: steps, losses and evaluations."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankformer.errors import MissingFileError, TableError
from rankformer.requirements import require_packages
from rankformer.training.model_card import RECORD_FILE

Log = list[dict[str, float]]
_STATE_FILE = "trainer_state.json"
_EVENTS = "events.out.tfevents.*"
_EXPECTED = (
    "The folder that pretrain or finetune wrote, its OUTPUT.run, training.json, "
    "trainer_state.json, or a folder of TensorBoard's."
)


def read_log(run: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Log:
    """Entries of a run's log, by step.

    Parameters
    ----------
    run
        A folder or file that a run left, also while it is at work; the record of ``training.json``;
        or the entries themselves.

    Raises
    ------
    MissingFileError, TableError
        If there is no such file, or no log in it.
    """
    if isinstance(run, str | os.PathLike):
        entries, name = _read_path(Path(run)), str(run)
    elif isinstance(run, Mapping):
        entries, name = run.get("log", run.get("log_history")), "The record"
    else:
        entries, name = run, "The log"
    is_log = isinstance(entries, Sequence) and all(isinstance(each, Mapping) for each in entries)
    steps = [dict(each) for each in entries if "step" in each] if is_log and entries else []
    if not steps:
        raise TableError(f"{name} holds no log of a training.", _EXPECTED, "Name one of these.")
    return sorted(steps, key=lambda each: each["step"])


def _read_path(path: Path) -> Any:
    if path.is_file():
        if path.match(_EVENTS):
            return _read_events([path])
        return _read_json(path)
    if not path.exists():
        beside = path.with_name(path.name + ".run")
        if not beside.is_dir():
            raise MissingFileError(f"{path} does not exist.", _EXPECTED, "Correct the path.")
        path = beside
    if (path / RECORD_FILE).is_file():
        return _read_json(path / RECORD_FILE)
    states = sorted(path.glob(f"**/{_STATE_FILE}"), key=_step)
    if states:
        return _read_json(states[-1])
    events = sorted(path.glob(f"**/{_EVENTS}"))
    return _read_events(events) if events else None


def _step(state: Path) -> int:
    _, _, number = state.parent.name.rpartition("-")
    return int(number) if number.isdigit() else -1


def _read_json(path: Path) -> Any:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read: {error}.", _EXPECTED, "Name another.") from error
    if isinstance(found, Mapping):
        return found.get("log", found.get("log_history"))
    return found


def _read_events(files: Sequence[Path]) -> Log:
    """Entries as the Trainer has them: ``train/loss`` is ``loss``, ``eval/loss`` ``eval_loss``."""
    require_packages("tensorboard", extra="train")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    entries: dict[tuple[int, str], dict[str, float]] = {}
    for file in files:
        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            part, _, figure = tag.partition("/")
            name = f"eval_{figure}" if part == "eval" else figure
            for event in events.Scalars(tag):
                entry = entries.setdefault((event.step, part), {"step": event.step})
                entry[name] = float(event.value)
    return list(entries.values())
