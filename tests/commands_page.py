"""The page of all commands: ``python -m tests.commands_page`` writes docs/commands.md."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from rankformer.cli import app

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
HEAD = """# Commands

Every command with its options, as `rankformer COMMAND --help` shows them. `--quiet` and `--help`
belong to each; `rankformer --offline COMMAND` never uses the network. The page is written by
`python -m tests.commands_page`.
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
    for parameter in sorted(command.params, key=lambda each: each.param_type_name):
        if parameter.name not in ("quiet", "help"):
            heading = getattr(parameter, "rich_help_panel", None) or ""
            tables.setdefault(heading, []).append(row(parameter))
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
        lines.append(f"{command.epilog.replace('Example: ', 'Example: `')}`\n")
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


def row(parameter: Any) -> str:
    """A row of a table."""
    is_option = parameter.param_type_name == "option"
    flags = "/".join([max(parameter.opts, key=len), *parameter.secondary_opts])
    short = [each for each in parameter.opts if not each.startswith("--")]
    names = [flags, *short] if is_option else [parameter.metavar]
    given = parameter.default
    shown = " ".join(map(str, given)) if isinstance(given, list) else given
    if isinstance(given, bool):
        shown = max(parameter.opts, key=len) if given else (parameter.secondary_opts or ("",))[0]
    is_told = is_option and parameter.show_default and shown not in (None, "")
    default = f"`{shown}`" if is_told else "required" if parameter.required else ""
    text = (parameter.help or "").replace("|", "\\|").replace("<", "&lt;")
    return f"| {', '.join(f'`{each}`' for each in names)} | {default} | {text} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
