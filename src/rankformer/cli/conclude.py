"""The end of a command."""

from collections.abc import Callable
from typing import Any


def conclude(task: Callable[[], Any], *, as_json: bool) -> None:  # noqa: ARG001
    """Run the task of a command, and show what it made."""
    task()
