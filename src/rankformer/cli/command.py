"""A command of the command line: settings become its options, and its help says what they do."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo

from rankformer.cli.conclude import conclude
from rankformer.cli.help_screen import show_help
from rankformer.settings import About, described_fields, is_settings

_WORDS = {Path: "PATH", str: "TEXT", int: "NUMBER", float: "NUMBER", bool: ""}
_FIRST = {"output": 0, "model": 1}
_QUIET = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Show only warnings and errors, and no progress bar."),
]
_JSON = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print what was made as one JSON document on stdout. The log stays on stderr.",
    ),
]


class Common:
    """In an annotation: an option that ``--help`` shows, and not only ``--help-all``."""


@dataclass(frozen=True)
class Changes:
    """In an annotation: the settings of this class that are given, as a dictionary.

    For settings whose defaults are found only when the command runs.
    """

    settings: type


def command(function: Callable[..., Any]) -> Callable[..., None]:
    """Make a function a command.

    A parameter of a class of settings stands for an option for each of its fields, and gets the
    settings; one annotated with `Changes` gets those that were given. Two fields of one option
    get the same value. What each command has, output and model, stands first in its help, and
    there are ``--quiet`` and ``--help-all`` besides. A function that returns a `Summary` of what it
    made, which is shown at the end, has ``--json`` too.
    """
    own = inspect.signature(function)
    parameters: dict[str, inspect.Parameter] = {}
    for each in own.parameters.values():
        for option in _options_of(each):
            same = parameters.setdefault(option.name, option)
            if same.default != option.default:
                raise TypeError(f"Two fields share the option {option.name}, and not its default.")
    parameters = dict(sorted(parameters.items(), key=lambda item: _FIRST.get(item[0], len(_FIRST))))
    added = {"quiet": _QUIET, "json": _JSON, "help_all": _help_all()}
    if own.return_annotation is None:
        del added["json"]
    for name, annotation in added.items():
        parameters[name] = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation
        )

    @wraps(function)
    def run(
        *, quiet: bool = False, json: bool = False, **values: Any
    ) -> None:  # fmt: skip
        if quiet:
            logging.getLogger("rankformer").setLevel(logging.WARNING)
        given = {each.name: _value_of(each, values) for each in own.parameters.values()}
        conclude(partial(function, **given), as_json=json)

    explained = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=_explained(each.annotation))
        for each in parameters.values()
    ]
    run.__signature__ = own.replace(parameters=explained)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in explained}
    run.common_options = frozenset(  # type: ignore[attr-defined]
        name for name, each in parameters.items() if Common in get_args(each.annotation)
    )
    return run


def _help_all() -> Any:
    def show(context: typer.Context, asked: bool) -> None:
        if asked and not context.resilient_parsing:
            show_help(context.command, context, everything=True)
            raise typer.Exit

    return Annotated[
        bool,
        typer.Option("--help-all", is_eager=True, callback=show, help="Show all options."),
    ]


def _options_of(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """The options that a parameter of a function stands for: itself, or those of settings."""
    changed = _changes_in(parameter.annotation)
    if changed is not None:
        yield from _options_of_settings(changed, without_defaults=True)
    elif is_settings(parameter.annotation):
        yield from _options_of_settings(parameter.annotation)
    else:
        yield parameter


def _value_of(parameter: inspect.Parameter, values: Mapping[str, Any]) -> Any:
    changed = _changes_in(parameter.annotation)
    if changed is not None:
        return _given(changed, values)
    if is_settings(parameter.annotation):
        return _make(parameter.annotation, values)
    return values[parameter.name]


def _changes_in(annotation: Any) -> type | None:
    if get_origin(annotation) is Annotated:
        found = [each.settings for each in get_args(annotation)[1:] if isinstance(each, Changes)]
        return found[0] if found else None
    return None


def _options_of_settings(
    cls: Any, *, without_defaults: bool = False
) -> Iterator[inspect.Parameter]:
    for each, kind, about in _fields_with_options(cls):
        within = _settings_within(kind)
        if within is not None:
            own = _options_of_settings(within, without_defaults=without_defaults)
            yield from (own if within is kind else map(_not_required, own))
        else:
            default = None if without_defaults else _default_of(each)
            yield _option(each.name, kind, about, default)


def _not_required(option: inspect.Parameter) -> inspect.Parameter:
    """As an option of settings that may be missing as a whole."""
    if option.default is not inspect.Parameter.empty:
        return option
    kind, *info = get_args(option.annotation)
    return option.replace(default=None, annotation=Annotated[kind | None, *info])


def _fields_with_options(cls: Any) -> "Iterator[tuple[Field[Any], Any, About]]":
    for each, kind, about in described_fields(cls):
        if about is not None and about.options is not None:
            yield each, kind, about


def _option(name: str, kind: Any, about: About, default: Any) -> inspect.Parameter:
    options, panel = about.options or (), about.panel
    kind = about.kind or (list[kind.__args__[0]] if get_origin(kind) is tuple else kind)
    if options and not options[0].startswith("-"):
        info: Any = typer.Argument(
            metavar=options[0], help=about.text, show_default=False, rich_help_panel=panel
        )
    else:
        if kind is bool and not options:
            options = (f"--{name.replace('_', '-')}",)
        info = typer.Option(*options, help=about.text, rich_help_panel=panel)
    if default is None:
        kind = kind | None
    return inspect.Parameter(
        _parameter_name(name, about), inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[kind, info, Common] if about.common else Annotated[kind, info],
    )  # fmt: skip


def _default_of(each: "Field[Any]") -> Any:
    """The default as an option has it: what is empty is not given."""
    if each.default is MISSING:
        return None if each.default_factory is not MISSING else MISSING
    if isinstance(each.default, tuple):
        return list(each.default) or None
    return each.default


def _parameter_name(name: str, about: About) -> str:
    """The long name of the option, so that two fields of one option share it."""
    if about.options and about.options[0].startswith("--"):
        return about.options[0].partition("/")[0].removeprefix("--").replace("-", "_")
    return name


def _make(cls: Any, values: Mapping[str, Any]) -> Any:
    return cls(**_given(cls, values))


def _given(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Field → value, without those that were not given."""
    given: dict[str, Any] = {}
    for each, kind, about in _fields_with_options(cls):
        within = _settings_within(kind)
        if within is not None:
            own = _given(within, values)
            if within is kind or own:
                given[each.name] = within(**own) if within is kind else _if_whole(within, own)
        else:
            value = values[_parameter_name(each.name, about)]
            if value is not None and value != []:
                given[each.name] = _field_value(value, about)
    return given


def _if_whole(cls: Any, given: Mapping[str, Any]) -> Any:
    """Settings that may be missing as a whole; their class says what is missing of them."""
    return cls.asked_for(**given)


def _field_value(value: Any, about: About) -> Any:
    if about.parse is not None:
        return about.parse(value)
    return tuple(value) if isinstance(value, list) else value


def _settings_within(kind: Any) -> Any:
    """``S`` of ``S`` or of ``S | None``, where it is a class of settings."""
    kinds = [each for each in (kind, *get_args(kind)) if is_settings(each)]
    return kinds[0] if kinds else None


def _explained(annotation: Any) -> Any:
    """Name the kind of value in one short word, and its choices in the help.

    Choices in the column of kinds leave no room for the help, which is then cut within words.
    """
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, *about = get_args(annotation)
    infos = [each for each in about if isinstance(each, OptionInfo | ArgumentInfo)]
    if not infos:
        return annotation
    info = infos[0]
    choices = _choices_of(kind)
    if isinstance(info, OptionInfo):
        info.metavar = info.metavar or ("WORD" if choices else _WORDS[_kind_of_one_value(kind)])
        repeated = "It may be given several times." if _is_list(kind) else ""
        is_told = all(each in (info.help or "") for each in choices)
        one_of = "" if is_told else f"One of {', '.join(choices)}."
        info.help = " ".join(filter(None, (info.help, one_of, repeated)))
    return Annotated[kind, info]


def _choices_of(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return list(map(str, get_args(kind)))
    return [choice for each in get_args(kind) if each is not kind for choice in _choices_of(each)]


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list or any(get_origin(each) is list for each in get_args(kind))


def _kind_of_one_value(kind: Any) -> type:
    """``list[str] | None`` → ``str``."""
    while inner := get_args(kind):
        kind = inner[0]
    return kind  # type: ignore[no-any-return]
