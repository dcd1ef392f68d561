"""What can be done to a gene in silico; `rankformer.tokens.edits` does it."""

from typing import Literal, get_args

from rankformer.errors import SettingsError

EditType = Literal["delete", "overexpress", "inhibit", "activate"]
EDIT_TYPES: tuple[EditType, ...] = get_args(EditType)
SHARE_OF_RANKS = 0.25


def check_edits(kind: EditType, share: float) -> None:
    """Refuse what is no type of edit, or no share of ranks.

    Raises
    ------
    SettingsError
        If it is so.
    """
    if kind not in EDIT_TYPES:
        raise SettingsError(
            f"The type of perturbation is {kind!r}.",
            f"One of {', '.join(EDIT_TYPES)}.",
            "Correct the type (--type).",
        )
    if not isinstance(share, float | int) or not 0 < share <= 1:
        raise SettingsError(
            f"The share of ranks is {share!r}.",
            "A number above 0 and up to 1: by how much of a cell's ranks a gene moves.",
            "Correct share (--share).",
        )
