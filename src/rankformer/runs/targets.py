"""Where the shards of a run lie: in the output, if it is a folder, or beside it for a while."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rankformer.errors import OutputError
from rankformer.placed import is_of_a_run
from rankformer.results.output_checks import check_cell_target
from rankformer.runs.run_folders import is_run_folder, parts_folder
from rankformer.runs.settings import RunSettings


@dataclass(frozen=True)
class RunTarget:
    """Where a run writes.

    Attributes
    ----------
    folder
        Of its shards.
    is_folder
        Whether they are the output, and not parts of a file.
    """

    folder: Path
    is_folder: bool


def check_run_target(
    output: Path, settings: RunSettings, formats: Sequence[str], *, overwrite: bool
) -> RunTarget:
    """Refuse, before any work, an output that could not be written.

    Parameters
    ----------
    output
        A file of one of the formats; or a folder, which has no ending, or is that of a run.
    settings
        A share of the work needs a folder.
    formats
        Endings of files.
    overwrite
        Replace a file that is there.

    Raises
    ------
    OutputError
        If the ending is not one of `formats`, the folder above is missing, a file is there already
        and `overwrite` is not given, or a share would be written to a file.
    """
    if not output.suffix or is_run_folder(output):
        return RunTarget(output, is_folder=True)
    expect_no_other_result(output, settings, overwrite=overwrite)
    output = check_cell_target(output, overwrite, formats)
    if settings.shard is not None:
        raise OutputError(
            f"The share {settings.shard} of a run was asked for, with the file {output} as its "
            "output.",
            "A folder, into which each share puts its shards; its name has no ending.",
            f"Pass --output {output.with_suffix('')}, and after all shares use `rankformer merge "
            f"{output.with_suffix('')} -o {output}`.",
        )
    return RunTarget(parts_folder(output), is_folder=False)


def expect_no_other_result(output: Path, settings: RunSettings, *, overwrite: bool = False) -> None:
    """Refuse an output with a run's parts beside it, unless the run itself had put it there.

    Then it was killed between the writing of its output and the end of its parts: the same command
    writes it again from the parts.

    Parameters
    ----------
    output
        A file or folder that the parts are joined to.
    settings
        Beginning anew deletes the parts, which say whose it is.
    overwrite
        Replace what is there.

    Raises
    ------
    OutputError
        If something else is there.
    """
    parts = parts_folder(output)
    if not output.exists() or overwrite or not is_run_folder(parts):
        return
    if settings.restart or not is_of_a_run(output):
        raise OutputError(
            f"{output} exists already, and {parts} holds the parts of a run for it.",
            "A name that is free, one at which parts alone lie, or one at which a run has put its "
            "result, that nobody changed since.",
            f"If you do not need the parts, delete {parts}; or else choose another output, or pass "
            f"--overwrite to replace {output.name}.",
        )
