"""The page of all commands: ``python -m tests.commands_page`` writes docs/commands.md."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from rankformer.cli import app
from rankformer.cli.help_screen import default_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
EVERYWHERE = ("quiet", "json", "help", "help_all")
HEAD = """# Commands

Every command with its options, as `rankformer COMMAND --help-all` shows them. `--help` shows those
that are needed or often chosen, which stand in bold here. Each command also has `--quiet`, which
leaves warnings and errors alone, and all but `mcp` have `--json`, which prints
[one document](json.md) for pipelines; `rankformer --offline COMMAND` never uses the network. The
examples run where `make demo` was run. The page is written by `python -m tests.commands_page`.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Names and commands, those of groups by both words."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for key, each in command.commands.items():
                yield from walk(each, f"{name} {key}".strip())
        else:
            yield name, command

    return walk(typer.main.get_command(app), "")


def page() -> str:
    """The text of the page."""
    tables = {name: tables_of(command) for name, command in commands()}
    all_tables = [(each, tuple(rows)) for own in tables.values() for each, rows in own.items()]
    shared = {each: rows for each, rows in all_tables if all_tables.count((each, rows)) > 2}
    sections = [section(name, each, tables[name], shared) for name, each in commands()]
    behind = [f"## {heading}\n\n{table(rows)}" for heading, rows in shared.items()]
    return "\n".join([HEAD, *sections, *behind])


def tables_of(command: Any) -> dict[str, list[str]]:
    """Headings and the rows below them; as the help has them, arguments come first."""
    tables: dict[str, list[str]] = {"": []}
    common = command.callback.common_options
    for parameter in sorted(command.params, key=lambda each: each.param_type_name):
        if parameter.name not in EVERYWHERE:
            heading = getattr(parameter, "rich_help_panel", None) or ""
            is_common = parameter.required or parameter.name in common
            tables.setdefault(heading, []).append(row(parameter, is_common=is_common))
    return tables


def section(
    name: str,
    command: Any,
    tables: Mapping[str, list[str]],
    shared: Mapping[str, tuple[str, ...]],
) -> str:
    """What a command does, an example, and its options under their headings."""
    lines = [f"## rankformer {name}\n", f"{inspect.cleandoc(command.callback.__doc__ or '')}\n"]
    if command.epilog:
        when, _, words = command.epilog.partition(": ")
        lines.append(f"{when}: `{words}`\n")
    elsewhere = []
    for heading, rows in tables.items():
        if shared.get(heading) == tuple(rows):
            elsewhere.append(f"[{heading}](#{heading.lower().replace(' ', '-')})")
        elif rows:
            lines += [f"**{heading}**\n"] if heading else []
            lines.append(table(rows))
    if elsewhere:
        lines.append(f"Further options, which other commands have too: {', '.join(elsewhere)}.\n")
    return "\n".join(lines)


def table(rows: Iterable[str]) -> str:
    """A table of options."""
    return "\n".join(["| option | default | |", "|---|---|---|", *rows, ""])


def row(parameter: Any, *, is_common: bool) -> str:
    """A row of a table."""
    is_option = parameter.param_type_name == "option"
    flags = "/".join([max(parameter.opts, key=len), *parameter.secondary_opts])
    short = [each for each in parameter.opts if not each.startswith("--")]
    names = [flags, *short] if is_option else [parameter.metavar]
    shown = default_of(parameter)
    default = f"`{shown}`" if shown else "required" if parameter.required else ""
    text = (parameter.help or "").replace("|", "\\|").replace("<", "&lt;")
    told = ", ".join(f"`{each}`" for each in names)
    return f"| {f'**{told}**' if is_common else told} | {default} | {text} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
