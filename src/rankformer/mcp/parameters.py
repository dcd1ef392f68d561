"""The parameters of tools, made of the settings that the command line makes its options of."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from rankformer.errors import SettingsError
from rankformer.mcp.folders import AllowedFolders
from rankformer.perturb.gene_lists import names_in
from rankformer.runs.settings import RunSettings
from rankformer.settings import About, described_fields, is_settings

Role = Literal["value", "input", "output", "model", "genes"]
_OUTPUTS = ("output", "save_to")
_REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """What a tool is told by name.

    Attributes
    ----------
    name
        That of the option of the command line, with ``_`` for ``-``.
    kind
        The type of the value as JSON has it.
    text
        Full sentences on what it does.
    role
        What must be checked: paths and models lie in the allowed folders.
    default
        `inspect.Parameter.empty` where it must be given.
    """

    name: str
    kind: Any
    text: str
    role: Role = "value"
    default: Any = _REQUIRED


@dataclass(frozen=True)
class Meaning:
    """In an annotation of a tool's parameter that is no class of settings."""

    text: str
    role: Role = "value"


def parameters_of(tool: Callable[..., Any]) -> list[Parameter]:
    """What a tool takes: fields of the settings that its parameters are, and the others."""
    return [each for own in _signature(tool) for each in _parameters(own)]


def arguments_of(
    tool: Callable[..., Any], values: Mapping[str, Any], folders: AllowedFolders
) -> dict[str, Any]:
    """The arguments of a tool's function, with settings made of the values.

    Parameters
    ----------
    values
        The value of each of `parameters_of`.
    folders
        In which every path and every folder of a model must lie.

    Raises
    ------
    RankformerError
        If a path lies elsewhere, or a setting is outside what is allowed.
    """
    admitted = {
        each.name: _admit(values[each.name], each.role, folders) for each in parameters_of(tool)
    }
    return {
        own.name: _make(own.annotation, admitted)
        if is_settings(own.annotation)
        else admitted[own.name]
        for own in _signature(tool)
    }


def _signature(tool: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(tool).parameters.values())


def _parameters(own: inspect.Parameter) -> Iterator[Parameter]:
    if is_settings(own.annotation):
        yield from _of_settings(own.annotation)
        return
    kind, *notes = get_args(own.annotation)
    meaning = next(each for each in notes if isinstance(each, Meaning))
    yield Parameter(own.name, kind, meaning.text, meaning.role, own.default)


def _of_settings(cls: Any, *, may_be_missing: bool = False) -> Iterator[Parameter]:
    for each, kind, about in _fields(cls):
        within = _settings_within(kind)
        if within is not None:
            yield from _of_settings(within, may_be_missing=within is not kind)
            continue
        kind = list[get_args(kind)[0]] if get_origin(kind) is tuple else kind  # type: ignore[misc]
        kind = about.kind or kind
        default = None if each.default_factory is not MISSING else each.default
        default = list(default) or None if isinstance(default, tuple) else default
        if default is MISSING:
            default = None if may_be_missing else _REQUIRED
        yield Parameter(
            _name(each.name, about), kind | None if default is None else kind,
            _as_parameters(about.text), _role(each.name, kind, about), default,
        )  # fmt: skip


def _fields(cls: Any) -> Iterator[tuple[Any, Any, About]]:
    for each, kind, about in described_fields(cls):
        # A tool does its work in one go, and gives one file.
        if about is not None and about.options is not None and kind is not RunSettings:
            yield each, kind, about


def _name(field: str, about: About) -> str:
    if about.options and about.options[0].startswith("--"):
        return _as_name(about.options[0].partition("/")[0].removeprefix("--"))
    return field


def _as_name(option: str) -> str:
    return option.replace("-", "_")


def _as_parameters(text: str) -> str:
    return re.sub("--([a-z][a-z-]*)", lambda option: f"`{_as_name(option[1])}`", text)


def _role(field: str, kind: Any, about: About) -> Role:
    if about.parse is names_in:
        return "genes"
    if Path in _kinds_within(kind):
        return "output" if field in _OUTPUTS else "input"
    return "value"


def _kinds_within(kind: Any) -> set[Any]:
    return {kind}.union(*map(_kinds_within, get_args(kind)))


def _settings_within(kind: Any) -> Any:
    """``S`` of ``S`` or of ``S | None``, where it is a class of settings."""
    if is_settings(kind):
        return kind
    is_union = get_origin(kind) in (Union, UnionType)
    return next((each for each in get_args(kind) if is_union and is_settings(each)), None)


def _admit(value: Any, role: Role, folders: AllowedFolders) -> Any:
    """A value of which all paths lie in the allowed folders."""
    if value is None or role == "value":
        return value
    if isinstance(value, list):
        return [_admit(each, role, folders) for each in value]
    if role == "genes":
        # A list of genes in a file is read where its name is parsed.
        return f"@{folders.readable(value[1:])}" if value.startswith("@") else value
    admit = {"input": folders.readable, "output": folders.writable, "model": folders.model}[role]
    return admit(value)


def _make(cls: Any, values: Mapping[str, Any]) -> Any:
    return cls(**_given(cls, values))


def _given(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Field → value, without those that were not given."""
    given: dict[str, Any] = {}
    for each, kind, about in _fields(cls):
        within = _settings_within(kind)
        if within is kind:
            given[each.name] = _make(within, values)
        elif within is not None:
            own = _given(within, values)
            if own:
                given[each.name] = within.asked_for(**own)
        else:
            value = values[_name(each.name, about)]
            if value is not None and value != []:
                given[each.name] = _field_value(value, about)
    return given


def _field_value(value: Any, about: About) -> Any:
    if about.parse is not None:
        return about.parse(value)
    return tuple(value) if isinstance(value, list) else value


def schema_of(parameters: list[Parameter], name: str) -> Any:
    """A class of pydantic that takes the parameters by name, and no other."""
    from pydantic import Field, create_model

    fields = {
        each.name: (each.kind, Field(description=each.text, **_default(each)))
        for each in parameters
    }
    make = partial(create_model, name, __config__={"extra": "forbid"})
    return make(**fields)


def _default(parameter: Parameter) -> dict[str, Any]:
    return {} if parameter.default is _REQUIRED else {"default": parameter.default}


def read_values(model: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a tool's parameters, those that were not given by their defaults.

    Raises
    ------
    SettingsError
        If one is missing, unknown or of another type; all are named.
    """
    from pydantic import ValidationError

    try:
        made = model(**given)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise SettingsError(
            f"The parameters do not fit: {'; '.join(wrong)}.",
            f"Of {', '.join(model.model_fields)} those that are needed, as the schema of the "
            "tool describes them.",
            "Correct them.",
        ) from error
    return {name: getattr(made, name) for name in model.model_fields}


Model = Annotated[
    str | None,
    Meaning(
        "The model: a name that `list_models` lists as here, or the folder of one. By default, "
        "the one published model on this machine is taken, or else rankformer-mini, a small model "
        "that ships with rankformer for trying out.",
        "model",
    ),
]
