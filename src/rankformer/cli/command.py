"""What every command can be told, and how its help says it."""

import copy
import inspect
import logging
from collections.abc import Callable
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from typer.models import ArgumentInfo, OptionInfo

from rankformer.cli.options import Verbosity

_KINDS = {Path: "PATH", str: "TEXT", int: "NUMBER", float: "NUMBER", bool: ""}


def can_be_quiet(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option ``--quiet`` to a command, and let its help fit a narrow terminal."""

    @wraps(command)
    def run(*, quiet: bool = False, **settings: Any) -> None:
        if quiet:
            logging.getLogger("rankformer").setLevel(logging.WARNING)
        command(**settings)

    own = inspect.signature(command)
    option = inspect.Parameter(
        "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Verbosity
    )
    parameters = [
        each.replace(annotation=_explained(each.annotation))
        for each in (*own.parameters.values(), option)
    ]
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _explained(annotation: Any) -> Any:
    """Name the kind of value in one short word, and its choices in the help.

    Choices in the column of kinds leave no room for the help, which is then cut within words.
    """
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, info = get_args(annotation)
    if not isinstance(info, OptionInfo | ArgumentInfo):
        return annotation
    info = copy.copy(info)
    value = _kind_of_one_value(kind)
    choices = [str(each.value) for each in value] if issubclass(value, Enum) else []
    is_told = all(each in (info.help or "") for each in choices)
    if isinstance(info, OptionInfo):
        info.metavar = info.metavar or ("WORD" if choices else _KINDS[value])
        repeated = "May be repeated." if any(get_origin(k) is list for k in _kinds(kind)) else ""
        one_of = "" if is_told else f"One of {', '.join(choices)}."
        info.help = " ".join(filter(None, (info.help, one_of, repeated)))
    return Annotated[kind, info]


def _kinds(kind: Any) -> tuple[Any, ...]:
    """A type, or those of a union."""
    return (kind,) if get_origin(kind) is list else (get_args(kind) or (kind,))


def _kind_of_one_value(kind: Any) -> type:
    """``list[str] | None`` → ``str``."""
    while inner := get_args(kind):
        kind = inner[0]
    return kind  # type: ignore[no-any-return]
