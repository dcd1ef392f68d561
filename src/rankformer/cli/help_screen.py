"""Help that fits a screen: what is needed and often chosen, and on request all the rest."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

NEEDED, COMMON = "What it needs", "What is often chosen"
REST, EVERYWHERE = "Further options", "For every command"
_EVERYWHERE = ("quiet", "json", "help", "help_all")
_WIDEST_NAMES = 30
# Looks like a space, and no line breaks there.
_BLANK = "\u2800"


class HelpfulCommand(TyperCommand):
    """A command with such help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # of typer
        """Show what is needed and often chosen."""
        show_help(self, ctx, everything=False)


class HelpfulGroup(TyperGroup):
    """A group of commands with such help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # of typer
        """Show the commands."""
        show_help(self, ctx, everything=False)


def show_help(command: Any, ctx: Any, *, everything: bool) -> None:
    """Print the help of a command: all its options, or those that are needed or often chosen."""
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as capture:
        _show(console, command, ctx, everything)
    console.file.write(capture.get().replace(_BLANK, " "))


def _show(console: Any, command: Any, ctx: Any, everything: bool) -> None:
    shown = [each for each in command.get_params(ctx) if not getattr(each, "hidden", False)]
    path = ctx.command_path
    console.print(f"[bold]Usage:[/bold] {_escape(_usage(path, command, shown))}\n")
    for paragraph in (command.help or "").split("\n\n"):
        console.print(f"{_escape(' '.join(paragraph.split()))}\n")
    common = common_options(command)
    groups = _group(shown, common, is_group=isinstance(command, TyperGroup))
    if isinstance(command, TyperGroup):
        _print_panels(console, _commands(command, ctx))
    panels = {
        heading: _rows(params, everything)
        for heading, params in groups.items()
        if everything or heading in (NEEDED, COMMON, EVERYWHERE)
    }
    _print_panels(console, panels)
    n_more = sum(len(params) for heading, params in groups.items() if heading not in panels)
    if n_more:
        options = "One option more" if n_more == 1 else f"{n_more} options more"
        console.print(f"{options}: [bold]{path} --help-all[/bold]")
    _print_example(console, command.epilog or "")


def _usage(path: str, command: Any, params: Sequence[Any]) -> str:
    words = [path]
    for each in sorted(params, key=lambda each: each.param_type_name):
        if each.required:
            is_option = each.param_type_name == "option"
            words.append(f"{_flags(each)[-1]} {each.metavar}" if is_option else each.metavar)
    words.append("COMMAND …" if isinstance(command, TyperGroup) else "[OPTIONS]")
    return " ".join(words)


def _group(
    params: Iterable[Any], common: frozenset[str], *, is_group: bool
) -> dict[str, list[Any]]:
    """Heading → options, in the order in which they are needed."""
    groups: dict[str, list[Any]] = {NEEDED: [], COMMON: [], REST: []}
    last: list[Any] = []
    for each in params:
        if is_group or each.name in _EVERYWHERE:
            last.append(each)
        elif each.required:
            groups[NEEDED].append(each)
        elif each.name in common:
            groups[COMMON].append(each)
        else:
            groups.setdefault(each.rich_help_panel or REST, []).append(each)
    groups[NEEDED].sort(key=lambda each: each.param_type_name)
    groups[EVERYWHERE] = last
    return {heading: own for heading, own in groups.items() if own}


def _rows(params: Sequence[Any], everything: bool) -> list[tuple[str, str]]:
    """Names and texts."""
    indent = "    " if any(len(each.opts) > 1 for each in params) else ""
    texts = [each.help if everything else brief(each.help or "") for each in params]
    return [
        (_names(each, indent), f"{_escape(text or '')}{_default(each)}")
        for each, text in zip(params, texts, strict=True)
    ]


def common_options(command: Any) -> frozenset[str]:
    """Names of the options of a command that are often chosen."""
    return getattr(command.callback, "common_options", frozenset())


def brief(text: str) -> str:
    """The first sentence, and the choices that the last one lists."""
    first = f"{text.split('. ', 1)[0].removesuffix('.')}."
    choices = re.search(r"One of [^.]+\.", text)
    return first if choices is None or choices[0] in first else f"{first} {choices[0]}"


def _names(param: Any, indent: str) -> str:
    if param.param_type_name == "argument":
        return f"[bold cyan]{_escape(param.metavar)}[/]"
    flags = _escape(", ".join(_flags(param)))
    no = "".join(f",\n{indent}{_escape(each)}" for each in param.secondary_opts)
    metavar = f" [yellow]{_escape(param.metavar)}[/]" if param.metavar else ""
    return f"{'' if len(param.opts) > 1 else indent}[bold cyan]{flags}{no}[/]{metavar}"


def _flags(param: Any) -> list[str]:
    """The short name before the long one."""
    return sorted(param.opts, key=len)


def default_of(param: Any) -> str:
    """The default of an option as it would be written, or nothing where there is none."""
    given = param.default
    if param.param_type_name == "argument" or not param.show_default:
        return ""
    if isinstance(given, bool):
        if given:
            return max(param.opts, key=len)  # type: ignore[no-any-return]
        return param.secondary_opts[0] if param.secondary_opts else ""
    if isinstance(given, list):
        return " ".join(map(str, given))
    return "" if given is None else str(given)


def _default(param: Any) -> str:
    default = default_of(param)
    told = f"\\[default:{_BLANK}{_escape(default)}]"
    return f" [dim]{told}[/dim]" if default else ""


def _print_panels(console: Any, panels: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Panels whose texts begin in one column."""
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    names = [Text.from_markup(name) for rows in panels.values() for name, _ in rows]
    widths = [len(line) for name in names for line in name.plain.split("\n")]
    width = min(max(widths, default=0), _WIDEST_NAMES)
    for heading, rows in panels.items():
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=width, no_wrap=True)
        table.add_column()
        for row in rows:
            table.add_row(*row)
        console.print(Panel(table, title=heading, title_align="left", border_style="dim"))


def _commands(group: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    panels: dict[str, list[tuple[str, str]]] = {}
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        first = " ".join((command.help or "").split("\n\n")[0].split())
        heading = getattr(command, "rich_help_panel", None) or "Commands"
        panels.setdefault(heading, []).append((f"[bold cyan]{name}[/]", _escape(first)))
    return panels


def _print_example(console: Any, epilog: str) -> None:
    when, _, words = epilog.partition(": ")
    if words:
        console.print(f"[bold]{_escape(when)}:[/bold]")
        console.print(_escape(break_command(words, console.width)), soft_wrap=True)


def break_command(line: str, width: int) -> str:
    """A command over several lines, as a shell takes it, which break before options."""
    pieces: list[str] = []
    for word in map(shlex.quote, shlex.split(line)):
        if pieces and not word.startswith("-"):
            pieces[-1] += f" {word}"
        else:
            pieces.append(word)
    lines = [f"  {pieces[0]}"]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) + 3 > width:
            lines[-1] += " \\"
            lines.append(f"    {piece}")
        else:
            lines[-1] += f" {piece}"
    return "\n".join(lines)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
