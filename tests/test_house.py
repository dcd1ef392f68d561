"""The plan of the house: how long files and functions are, and that a reason is given beyond it."""

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

import rankformer

SOURCE = Path(rankformer.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
MOST_LINES = {"file": 400, "function": 80}
REASON = re.compile(r"# Longer than \d+ lines: \w+")


def functions(tree):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [each for each in ast.walk(tree) if isinstance(each, kinds)]


def line_above(lines, function):
    """The comment above a function and its decorators."""
    first = min(each.lineno for each in (function, *function.decorator_list))
    return lines[first - 2]


@pytest.mark.parametrize("file", FILES, ids=lambda each: str(each.relative_to(SOURCE)))
def test_what_is_long_says_why(file):
    text = file.read_text()
    lines = text.splitlines()
    if len(lines) > MOST_LINES["file"]:
        assert REASON.search(text), f"{len(lines)} lines"
    for each in functions(ast.parse(text)):
        length = each.end_lineno - each.lineno + 1
        if length > MOST_LINES["function"]:
            assert REASON.search(line_above(lines, each)), f"{each.name}: {length} lines"


def test_faults_that_may_live_are_in_functions_that_there_are():
    """Of a function that was moved or renamed, they would be forgotten."""
    named = tomllib.loads((Path(__file__).parent / "mutation" / "survivors.toml").read_text())
    for place in {place for each in named["survivors"] for place in each["mutants"]}:
        words = place.split(".")
        depth = max(
            i for i in range(1, len(words))
            if (SOURCE.joinpath(*words[:i])).with_suffix(".py").exists()
        )  # fmt: skip
        found = importlib.import_module(f"rankformer.{'.'.join(words[:depth])}")
        for word in words[depth:]:
            found = getattr(found, word)


def test_a_folder_is_a_word_of_the_field():
    """What stands in no folder is ground, or a face."""
    folders = {each.name for each in SOURCE.iterdir() if (each / "__init__.py").exists()}
    assert folders == {
        "annotate", "cells", "checkpoints", "cli", "corpus", "embed", "evaluate", "finetuning",
        "genes", "model", "networks", "perturb", "pretraining", "results", "show", "tokens",
        "training", "vocabulary",
    }  # fmt: skip
