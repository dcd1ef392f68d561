"""The tools on docs/mcp.md: ``python -m tests.mcp_page`` writes them from their parameters."""

import inspect
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rankformer.mcp.parameters import Parameter, parameters_of, schema_of
from rankformer.mcp.tools import TOOLS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "mcp.md"
BEGIN, END = "<!-- tools: written by python -m tests.mcp_page -->\n", "<!-- /tools -->"


def page() -> str:
    """The text of the page, with the tools of today."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return head + BEGIN + "\n".join(sections()) + END + rest.partition(END)[2]


def sections() -> Iterator[str]:
    """What each tool does and takes, and behind them what several take."""
    own = {each.name: parameters_of(each.run) for each in TOOLS}
    times = Counter((each.name, each.text) for all_ in own.values() for each in all_)
    shared = {each.name: each for all_ in own.values() for each in all_ if is_shared(each, times)}
    for tool in TOOLS:
        yield f"### {tool.name}\n\n{inspect.cleandoc(tool.run.__doc__ or '')}\n"
        if tool.needs_network:
            yield "It is offered only where the server was started with `--allow-download`.\n"
        alone = [each for each in own[tool.name] if not is_shared(each, times)]
        if alone:
            yield table(alone)
        others = [f"`{each.name}`" for each in own[tool.name] if is_shared(each, times)]
        if others:
            yield f"And [what several tools take](#what-several-tools-take): {', '.join(others)}.\n"
    yield f"### What several tools take\n\n{table(shared.values())}"


def is_shared(parameter: Parameter, times: Counter[tuple[str, str]]) -> bool:
    """Whether three tools take it, in the same meaning."""
    return times[parameter.name, parameter.text] > 2


def table(parameters: Iterable[Parameter]) -> str:
    """A table of parameters."""
    rows = []
    for each in parameters:
        schema = schema_of([each], "one").model_json_schema()
        default = schema["properties"][each.name].get("default")
        shown = "required" if "required" in schema else "" if default is None else f"`{default}`"
        text = each.text.replace("|", "\\|")
        text = re.sub("<([a-z]+)>", r"&lt;\1>", text)
        rows.append(
            f"| `{each.name}` | {kind(schema['properties'][each.name])} | {shown} | {text} |"
        )
    return "\n".join(["| parameter | kind | default | |", "|---|---|---|---|", *rows, ""])


def default_of(schema: dict[str, Any]) -> str:
    """The default as JSON has it, or nothing for null."""
    default = schema.get("default")
    if default is None:
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def kind(schema: dict[str, Any]) -> str:
    """The kind of a value in words."""
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if schema["type"] == "array":
        return f"list of {kind(schema['items'])}s"
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return "path" if schema.get("format") == "path" else words.get(schema["type"], schema["type"])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
