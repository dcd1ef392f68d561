"""Packages that only some commands need, which extras of rankformer bring."""

from importlib.util import find_spec

from rankformer.errors import SettingsError
from rankformer.extras import install_command

# What no extra brings, as it has no build for each version of Python → what is to be installed.
_OF_NO_EXTRA = {"ray": 'pip install "ray[tune]"'}


def require_packages(*packages: str, extra: str) -> None:
    """Say what is missing, before any work.

    Parameters
    ----------
    *packages
        Names by which they are imported.
    extra
        Of rankformer, that brings them.

    Raises
    ------
    SettingsError
        If one is not installed.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed.",
            f"{', '.join(packages)}, which do this part of the work.",
            f"Install with `{_OF_NO_EXTRA.get(missing[0]) or install_command(extra)}`.",
        )
