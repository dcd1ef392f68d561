"""How many files a process may hold open, raised where the system lets it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rankformer.errors import SettingsError

# What Python, its libraries, the shards and the result hold open besides the inputs.
_OTHERS = 64


def make_room_for(inputs: Sequence[Path]) -> None:
    """Raise the limit of open files to what inputs need that are kept open at once.

    Raises
    ------
    SettingsError
        If the system allows fewer.
    """
    if sys.platform == "win32":
        return
    import resource

    # Stores and folders are opened and closed as they are read.
    n_needed = sum(path.is_file() for path in inputs) + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= n_needed:
        return
    if hard != resource.RLIM_INFINITY and hard < n_needed:
        raise SettingsError(
            f"{len(inputs):,} inputs are kept open for one output file, and the system lets this "
            f"process hold {hard:,} files open.",
            f"At least {n_needed:,} open files (`ulimit -n`), or an output for which inputs are "
            "opened one after the other.",
            "Name a folder as the output (--output), and join its shards with `rankformer merge`; "
            "or let the administrator raise the limit.",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_needed, hard))
