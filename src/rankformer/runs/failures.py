"""Inputs that could not be read, kept with a run so that `rankformer merge` can tell of them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from rankformer.runs.shards import half_written
from rankformer.scratch import as_output_error
from rankformer.summary import Failure

_FOLDER = "failures"


def keep_failures(folder: Path, done: Iterable[int], failures: Mapping[int, Failure]) -> None:
    """Keep why inputs could not be read, and forget it of those that now could.

    Parameters
    ----------
    folder
        Of the run.
    done
        Numbers of the inputs of which every cell is done, by whichever share.
    failures
        Number of the input → why it could not.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    kept = folder / _FOLDER
    with as_output_error(kept):
        for index in sorted({*done, *failures}):
            file = kept / f"{index:06d}.json"
            if index not in failures:
                file.unlink(missing_ok=True)
                continue
            kept.mkdir(exist_ok=True)
            part = half_written(file)
            part.write_text(json.dumps(asdict(failures[index]), indent=2) + "\n", "utf-8")
            part.replace(file)


def kept_failures(folder: Path) -> dict[int, Failure]:
    """Number of the input → why it could not be read; of a damaged note nothing."""
    kept = {
        int(file.stem): _read(file)
        for file in sorted((folder / _FOLDER).glob("*.json")) if file.stem.isdecimal()
    }  # fmt: skip
    return {index: each for index, each in kept.items() if each is not None}


def _read(file: Path) -> Failure | None:
    try:
        return Failure(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
