"""Settings: frozen dataclasses whose fields say their default, meaning and option, once.

The command line makes its options of them (`rankformer.cli.command`), and their docstrings list
them. A module that defines settings loads neither numpy nor torch, so ``--help`` comes at once.
"""

import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, cast, dataclass_transform, get_type_hints

C = TypeVar("C", bound=type)
_ABOUT = "rankformer"
_PANELS = "_settings_panels"
_WIDTH = 100


@dataclass(frozen=True)
class About:
    """What a field of settings says of itself.

    Attributes
    ----------
    text
        Full sentences on what the setting does.
    options
        What the command line calls it, the long name first; made from the name of the field where
        it is empty, and None where the field is no option. ``"FILE…"`` is an argument.
    panel
        The heading under which the help of a command lists it; that of the class that has the field
        unless given.
    kind
        The type of the word that the command line takes, where it is not the field's.
    parse
        Makes the value of that word.
    common
        Whether ``--help`` shows the option, by the first sentence of its text; ``--help-all`` shows
        all options.
    """

    text: str
    options: tuple[str, ...] | None = ()
    panel: str | None = None
    kind: Any = None
    parse: Callable[[Any], Any] | None = None
    common: bool = False


def setting(
    *,
    text: str,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    options: tuple[str, ...] | None = (),
    panel: str | None = None,
    kind: Any = None,
    parse: Callable[[Any], Any] | None = None,
    common: bool = False,
) -> Any:
    """A field of settings; see `About`."""
    metadata = {_ABOUT: About(text, options, panel, kind, parse, common)}
    if default_factory is not MISSING:
        return field(default_factory=default_factory, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass_transform(frozen_default=True, field_specifiers=(setting, field))
def settings(panel: str | None = None, *, kw_only: bool = False) -> Callable[[C], C]:
    """Make a class a frozen dataclass whose docstring lists its fields as they describe themselves.

    Parameters
    ----------
    panel
        The heading under which the help of a command lists its options.
    kw_only
        Take the fields by name alone, so that their order is that of the help.
    """

    def make(cls: C) -> C:
        made: Any = dataclass(frozen=True, kw_only=kw_only)(cls)
        inherited = [getattr(each, _PANELS, {}) for each in reversed(cls.__mro__[1:])]
        own = dict.fromkeys(cls.__annotations__, panel)
        setattr(made, _PANELS, {k: v for each in (*inherited, own) for k, v in each.items()})
        made.__doc__ = f"{(cls.__doc__ or '').rstrip()}\n\n{_list_fields(made)}"
        return cast("C", made)

    return make


def is_settings(kind: object) -> bool:
    """Whether a type was made by `settings`."""
    return isinstance(kind, type) and is_dataclass(kind) and hasattr(kind, _PANELS)


@cache
def described_fields(cls: type) -> "tuple[tuple[Field[Any], Any, About | None], ...]":
    """Fields of settings with their types, and what they say of themselves."""
    hints, panels = get_type_hints(cls), getattr(cls, _PANELS)
    described = []
    for each in fields(cls):
        about = each.metadata.get(_ABOUT)
        if about is not None:
            about = replace(about, panel=about.panel or panels[each.name])
        described.append((each, hints[each.name], about))
    return tuple(described)


def _list_fields(cls: type) -> str:
    lines = ["    Attributes", "    ----------"]
    for each in fields(cls):
        about = each.metadata.get(_ABOUT)
        if about is not None:
            lines += [f"    {each.name}", *describe(each, " " * 8)]
    return "\n".join([*lines, "    "])


def describe(each: "Field[Any]", indent: str) -> list[str]:
    """What a field does and its default, in lines for a docstring, where it is no option."""
    text = f"{each.metadata[_ABOUT].text}{_default_in_words(each)}"
    as_python = re.sub("--([a-z][a-z-]*)", lambda option: _as_keyword(option[1]), text)
    return _wrap(as_python, indent)


def _wrap(text: str, indent: str) -> list[str]:
    """Break a text between words; `textwrap` takes a tenth of the time of ``--help`` for it."""
    lines = [indent]
    for word in text.split():
        if len(lines[-1]) + len(word) > _WIDTH:
            lines.append(indent)
        lines[-1] += f"{word} "
    return [line.rstrip() for line in lines]


def _as_keyword(option: str) -> str:
    return f"`{option.replace('-', '_')}`"


def _default_in_words(each: "Field[Any]") -> str:
    if each.default is MISSING or each.default in (None, (), ""):
        return ""
    return f" The default is {each.default!r}."
