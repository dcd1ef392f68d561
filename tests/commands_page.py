"""The page of all commands: ``python -m tests.commands_page`` writes docs/commands.md."""

import inspect
from collections.abc import Iterator
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
    return "\n".join([HEAD, *(section(name, command) for name, command in commands())])


def section(name: str, command: Any) -> str:
    """What a command does, an example, and its options under their headings."""
    said = inspect.cleandoc(command.callback.__doc__ or "")
    lines = [f"## rankformer {name}\n", f"{said}\n"]
    if command.epilog:
        lines.append(f"{command.epilog.replace('Example: ', 'Example: `')}`\n")
    tables: dict[str, list[str]] = {}
    for parameter in command.params:
        if parameter.name not in ("quiet", "help"):
            heading = getattr(parameter, "rich_help_panel", None) or ""
            tables.setdefault(heading, []).append(row(parameter))
    for heading, rows in sorted(tables.items(), key=lambda each: each[0] != ""):
        lines += [f"**{heading}**\n"] if heading else []
        lines += ["| option | default | |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def row(parameter: Any) -> str:
    """A row of a table."""
    is_option = parameter.param_type_name == "option"
    flags = "/".join([max(parameter.opts, key=len), *parameter.secondary_opts])
    short = [each for each in parameter.opts if not each.startswith("--")]
    names = [flags, *short] if is_option else [parameter.metavar]
    given = parameter.default
    shown = " ".join(map(str, given)) if isinstance(given, list) else given
    is_told = is_option and parameter.show_default and given not in (None, False, True)
    default = f"`{shown}`" if is_told else "needed" if parameter.required else ""
    text = (parameter.help or "").replace("|", "\\|").replace("<", "&lt;")
    return f"| {', '.join(f'`{each}`' for each in names)} | {default} | {text} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
