"""The share of a file's genes that must be recognised."""

from rankformer.errors import SettingsError


def check_share(min_recognised: float) -> None:
    """Raise a `SettingsError` unless it is between 0 and 1."""
    if 0 <= min_recognised <= 1:
        return
    raise SettingsError(
        f"min_recognised is {min_recognised}.",
        "A share between 0 and 1, 0.5 by default.",
        "Pass min_recognised=0.5 (--min-recognised 0.5).",
    )
