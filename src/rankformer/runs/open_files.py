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
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (n_needed, hard))
    # Above the hard limit, or above that of the kernel where there is no hard one.
    except (ValueError, OSError) as error:
        raise SettingsError(
            f"{len(inputs):,} inputs are to be open at the same time, and the system lets this "
            f"process hold {soft if hard == resource.RLIM_INFINITY else hard:,} files open.",
            f"At least {n_needed:,} open files (`ulimit -n`), or work for which inputs are opened "
            "one after the other: embedding, naming cells and predicting into a folder.",
            "With these, name a folder as the output (--output), and join its shards with "
            "`rankformer merge`. Otherwise give fewer inputs at a time, or let the administrator "
            "raise the limit.",
        ) from error
