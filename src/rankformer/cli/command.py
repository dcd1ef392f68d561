"""What every command can be told, behind its name as well as before it."""

import inspect
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from rankformer.cli.options import Verbosity


def can_be_quiet(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option ``--quiet`` to a command."""

    @wraps(command)
    def run(*, quiet: bool = False, **settings: Any) -> None:
        if quiet:
            logging.getLogger("rankformer").setLevel(logging.WARNING)
        command(**settings)

    own = inspect.signature(command)
    option = inspect.Parameter(
        "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Verbosity
    )
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "quiet": Verbosity}
    return run
